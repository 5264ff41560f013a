"""YAML files of options, read by another reader than the program's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from trainer.config import registry

FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML was built with it: a tenth of the time of the one in Python."""


def read_tree(option: registry.ConfigOption) -> dict[str, Any]:
    """Return the keys that an option's file sets, merged over its defaults list."""
    return _read_file(option.path)


def read_keys(option: registry.ConfigOption) -> dict[str, Any]:
    """Return the keys of an option's own group, including ``_target_``."""
    found = read_tree(option)[option.group]
    assert isinstance(found, dict)
    return found


def read_choices(option: registry.ConfigOption) -> dict[str, str]:
    """Return the options that a file chooses for other groups, merged over its bases."""
    return _read_choices(option.path)


def is_global(path: Path) -> bool:
    return path.read_text(encoding="utf-8").startswith("# @package _global_\n")


def _load(path: Path) -> tuple[dict[str, Any], list[Any]]:
    tree = yaml.load(path.read_text(encoding="utf-8"), FAST_LOADER) or {}
    return tree, tree.pop("defaults", [])


def _parents(path: Path) -> list[Path]:
    names = [item for item in _load(path)[1] if isinstance(item, str) and item != "_self_"]
    return [path.with_name(f"{name.rpartition('/')[2]}.yaml") for name in names]


def _read_file(path: Path) -> dict[str, Any]:
    tree, _ = _load(path)
    found: dict[str, Any] = {}
    for part in (*map(_read_file, _parents(path)), tree if is_global(path) else {path.parent.name: tree}):
        for key, value in part.items():
            found[key] = found.get(key, {}) | value if isinstance(value, dict) else value
    return found


def _read_choices(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for parent in _parents(path):
        found |= _read_choices(parent)
    for item in (item for item in _load(path)[1] if isinstance(item, dict)):
        ((key, name),) = item.items()
        found[key.removeprefix("override /").split("@")[0]] = name
    return found
