"""Lookup of the option that has a key which was set at the top level by mistake, and of the global keys it may mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.config import registry
from trainer.config.schema import Settings
from trainer.utils.suggest import format_suggestion, list_longer_names

SYNONYMS: Mapping[str, str] = {
    **dict.fromkeys(("nan", "inf", "finite", "infinite"), "on_nonfinite"),
    **dict.fromkeys(("gpus", "processes"), "devices"),
    "fsdp": "strategy",
    **dict.fromkeys(("amp", "bf16", "fp16", "dtype"), "precision"),
}
"""Global keys by words that other programs have in the names of theirs."""


def describe_key_owner(key: str, names: Mapping[str, str], config_dirs: Sequence[Path] = ()) -> str:
    """Return a clause that names the option which has a key, or an empty string if no option has it.

    Global keys that it may mean too are suggested after it.

    Args:
        key: Key without its group, such as ``teacher_forcing``.
        names: Chosen option of each group.
        config_dirs: Directories with YAML files of the user.
    """
    owners = {group: _find_owners(group, key, config_dirs) for group in names}
    owners = {group: options for group, options in owners.items() if options}
    for group, options in owners.items():
        if names[group] in options:
            return f"; it is a key of {group} {names[group]}: {group}.{key}{format_suggestion(list_related_keys(key))}"
    for group, options in owners.items():
        examples = ", ".join(options[:3])
        related = format_suggestion(list_related_keys(key))
        return f"; {group} {names[group]} has no {key}; it is a key of {group} {examples} ({group}.{key}){related}"
    return ""


def _find_owners(group: str, key: str, config_dirs: Sequence[Path]) -> list[str]:
    options = registry.list_options(group, config_dirs).values()
    return [option.name for option in options if key in option.get_descriptions() and key != "_target_"]


def list_related_keys(key: str) -> list[str]:
    """Return the global keys that contain an unknown one, and those that one of its words is a synonym of.

    Args:
        key: Key without a group, such as ``keep`` or ``on_nan``.
    """
    synonyms = (SYNONYMS[word] for word in key.lower().split("_") if word in SYNONYMS)
    return [*dict.fromkeys([*list_longer_names(key, Settings.__dataclass_fields__), *synonyms])]
