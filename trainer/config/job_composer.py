"""Configurations of the jobs of a grid: those that differ in numbers only are made from the first one of them.

Composing YAML files and resolving interpolations takes most of the time of a configuration, and a sweep of numbers
would repeat it for the same result. All checks of the values are repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

from hydra.core.override_parser.types import Override, OverrideType

from trainer.config import compose, hydra_compose, init_keys, registry, resume_keys
from trainer.config.override_parser import parse_overrides
from trainer.config.run_config import Config
from trainer.config.schema import Settings
from trainer.config.validation import find_problems

NUMBER_KEYS = frozenset(("seed", "epochs", "batch_size", "grad_clip", "ema", "patience", "val_every"))
"""Global keys whose numbers may differ; values of others are changed when a configuration is composed."""
_REFERENCE = re.compile(r"\$\{([^{}:]*)")


class JobComposer:
    """Composes the configurations of a grid.

    Args:
        config_dirs: Directories with YAML files of the user.
    """

    def __init__(self, config_dirs: Sequence[Path] = ()):
        self._config_dirs = config_dirs
        self._first_configs: dict[tuple[str, ...], Config | None] = {}

    def compose(self, overrides: Sequence[str]) -> Config:
        """Return the same as ``compose.compose``.

        Args:
            overrides: Overrides of a job.

        Raises:
            ConfigError: There are problems; all of them are listed.
        """
        parsed = parse_overrides(overrides, self._config_dirs)
        changed = [item for item in parsed if _is_number(item)]
        pattern = tuple(item.key_or_group if _is_number(item) else str(item.input_line) for item in parsed)
        if (first := self._first_configs.get(pattern)) is not None:
            config = self._change_numbers(first, parsed, changed, overrides)
            if config is not None:
                return config
        config = compose.compose(overrides, self._config_dirs)
        if pattern not in self._first_configs:
            is_reusable = changed and not self._are_referenced(parsed, {item.key_or_group for item in changed})
            self._first_configs[pattern] = config if is_reusable else None
        return config

    def _are_referenced(self, parsed: Sequence[Override], keys: set[str]) -> bool:
        """Return whether an interpolation of the YAML files or overrides may refer to one of the keys."""
        if any("$" in str(item.input_line) for item in parsed):  # its braces may be escaped
            return True
        groups = registry.list_groups(self._config_dirs)
        choices = [item for item in parsed if item.key_or_group in groups]
        composed = hydra_compose.compose_base(
            tuple(str(item.input_line) for item in choices if item.value() is not None), tuple(self._config_dirs)
        )
        nodes = [composed._get_node(key) for key in composed if key != "hydra"]
        nodes += [composed.hydra[kind]._get_node("dir") for kind in ("run", "sweep")]
        references = {reference.strip() for node in nodes for reference in _REFERENCE.findall(str(node))}
        roots = {key.partition(".")[0] for key in keys}
        # A reference that is relative, nested or to Hydra's own values might mean anything.
        return any(
            not name or name.startswith((".", "hydra.job")) or name.partition(".")[0] in roots for name in references
        )

    def _change_numbers(
        self, first: Config, parsed: Sequence[Override], changed: Sequence[Override], overrides: Sequence[str]
    ) -> Config | None:
        """Return a configuration with other numbers; None if it must be composed, such as to report its problems."""
        tree, raw = deepcopy(dict(first.tree)), deepcopy(dict(first.raw))
        for item in changed:
            if not (_set_value(tree, item) and _set_value(raw, item)):
                return None
        problems, conflicts = find_problems(tree, first.names, self._config_dirs, set())
        problems += init_keys.find_init_problems(tree) + resume_keys.find_resume_problems(tree)
        keys = {item.key_or_group for item in parsed}
        if problems or conflicts or compose.find_key_problems(tree, keys, is_single_run=False):
            return None
        if compose.find_ineffective_keys(tree, parsed):
            return None
        settings = Settings(**{key: tree[key] for key in get_type_hints(Settings)})
        return replace(first, tree=tree, raw=raw, overrides=list(overrides), settings=settings)


def _is_number(item: Override) -> bool:
    """Return whether an override only sets a number."""
    if item.type is not OverrideType.CHANGE or item.is_sweep_override() or type(item.value()) not in (int, float):
        return False
    key = item.key_or_group
    return key in NUMBER_KEYS or (key.partition(".")[0] in registry.OBJECT_GROUPS and "." in key)


def _set_value(tree: dict[str, Any], item: Override) -> bool:
    """Set a number in a tree; return whether there was one before."""
    *parents, name = item.key_or_group.split(".")
    node: Any = tree
    for parent in parents:
        node = node.get(parent) if isinstance(node, Mapping) else None
    if not isinstance(node, dict) or type(node.get(name)) not in (int, float):
        return False
    node[name] = item.value()
    return True
