"""Lookup of the option that has a key which was set at the top level by mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.config import registry


def describe_key_owner(key: str, names: Mapping[str, str], config_dirs: Sequence[Path] = ()) -> str:
    """Return a clause that names the option which has a key, or an empty string if no option has it.

    Args:
        key: Key without its group, such as ``teacher_forcing``.
        names: Chosen option of each group.
        config_dirs: Directories with YAML files of the user.
    """
    owners = {group: _find_owners(group, key, config_dirs) for group in names}
    owners = {group: options for group, options in owners.items() if options}
    for group, options in owners.items():
        if names[group] in options:
            return f"; it is a key of {group} {names[group]}: {group}.{key}"
    for group, options in owners.items():
        examples = ", ".join(options[:3])
        return f"; {group} {names[group]} has no {key}; it is a key of {group} {examples} ({group}.{key})"
    return ""


def _find_owners(group: str, key: str, config_dirs: Sequence[Path]) -> list[str]:
    options = registry.list_options(group, config_dirs).values()
    return [option.name for option in options if key in option.get_descriptions() and key != "_target_"]
