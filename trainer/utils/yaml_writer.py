"""Configurations as YAML, the text that OmegaConf writes, by libyaml if PyYAML has it: several times as fast."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import yaml

DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
SHORT_BOOLEANS = frozenset("yYnN")
"""Booleans of YAML 1.1 that PyYAML reads as strings."""


class _Dumper(DUMPER):
    """YAML dumper that quotes strings which another reader takes for a number, such as 1e-3, or a boolean."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Return the node of a string."""
        style = "'" if text in SHORT_BOOLEANS or _is_number(text) else None
        node: yaml.ScalarNode = self.represent_scalar("tag:yaml.org,2002:str", text, style=style)
        return node

    def ignore_aliases(self, data: object) -> bool:
        """Write a value that occurs twice twice, so that each can be edited."""
        return True


_Dumper.add_representer(str, _Dumper.represent_text)


def to_yaml(config: Mapping[str, Any]) -> str:
    """Return a configuration as YAML, with its keys in their order.

    Args:
        config: Tree of dictionaries, lists, strings, numbers, booleans and None.
    """
    text: str = yaml.dump(dict(config), Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
    return text


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        float(text)
        return True
    return False
