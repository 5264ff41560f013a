"""Hints for unknown keys of a configuration."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from trainer.config import registry
from trainer.config.allowed_keys import ALLOWED_HYDRA_GROUPS
from trainer.config.key_owners import describe_key_owner, list_related_keys
from trainer.config.migrations import find_renamed_key
from trainer.config.registry import LIST_GROUPS, OBJECT_GROUPS
from trainer.utils.suggest import did_you_mean, find_nearest, format_suggestion

PATH_KEY_NAMES = ("path", "data_dir", "dir", "directory", "root", "folder", "file", "filename", "files", "location")
"""Common names for the location of files, recognized in misspelled keys of a data set."""


def suggest_key(composed: DictConfig, parents: Sequence[str], part: str) -> str:
    """Return a hint for an unknown key, as a clause that begins with a semicolon, or an empty string.

    A key of exactly this name in a chosen option comes first, then a similar sibling, then a similar key anywhere.

    Args:
        composed: Composed configuration.
        parents: Parts of the key that exist.
        part: The part that does not.
    """
    choices = composed.hydra.runtime.choices
    groups = [group for group in OBJECT_GROUPS if isinstance(composed.get(group), DictConfig)]
    group_keys = _list_group_keys(composed)
    exact_matches = [key for key in group_keys if key.partition(".")[2] == part]
    exact_hint = format_suggestion(exact_matches)
    if not parents:
        names = {group: str(choices[group]) for group in groups}
        if exact_matches:
            return format_suggestion([*exact_matches, *list_related_keys(part)])
        if hint := describe_key_owner(part, names):
            return hint
    if len(parents) == 1 and parents[0] in LIST_GROUPS:
        return _suggest_entry(composed, parents[0], part)
    parent = OmegaConf.select(composed, ".".join(parents)) if parents else composed
    if isinstance(parent, DictConfig) and (current := find_renamed_key(str(parent.get("_target_")), part)):
        return f"; it is called {'.'.join((*parents, current))} now"
    siblings = [str(key) for key in parent if key != "hydra" and not str(key).startswith("_")]
    prefix = "".join(f"{name}." for name in parents)
    if hint := did_you_mean(part, siblings if parents else [*siblings, *ALLOWED_HYDRA_GROUPS], prefix):
        return hint
    if not parents and (hint := format_suggestion(list_related_keys(part))):
        return hint
    if part in PATH_KEY_NAMES and parents == ["data"]:
        path_keys = [f"data.{name}" for name in parent if name in (*PATH_KEY_NAMES, "name")]
        if path_keys:
            return f"; data={choices.data} finds its files by {' and '.join(path_keys)}"
    if len(parents) == 1:
        options = registry.list_options(parents[0]).values()
        owners = [option.name for option in options if part in option.get_descriptions()]
        if owners:
            own_keys = ", ".join(key for key in group_keys if key.startswith(prefix)) or "no keys"
            owner_names = ", ".join(owners[:3])
            return f"; {parents[0]} {choices.get(parents[0])} has {own_keys} ({part} is a key of {owner_names})"
    if exact_hint:
        return exact_hint
    nearest = find_nearest(part, [key.partition(".")[2] for key in group_keys])
    return next((f"; did you mean {key}?" for key in group_keys if key.partition(".")[2] == nearest), "")


def suggest_separators(composed: DictConfig, key: str) -> str:
    """Return a hint for a key that consists of the words of another one: ``resume_allow`` for ``resume.allow``.

    Args:
        composed: Composed configuration.
        key: Unknown key.
    """
    known_keys = [str(name) for name in composed if name != "hydra"] + _list_group_keys(composed)
    return format_suggestion([name for name in known_keys if name.replace(".", "_") == key.replace(".", "_")])


def _list_group_keys(composed: DictConfig) -> list[str]:
    """Return the keys of the chosen options."""
    groups = [group for group in OBJECT_GROUPS if isinstance(composed.get(group), DictConfig)]
    return [f"{group}.{key}" for group in groups for key in composed[group] if not str(key).startswith("_")]


def _suggest_entry(composed: DictConfig, group: str, name: str) -> str:
    """Return a hint for an unknown entry of a list group: the nearest name, or how to add an entry."""
    entry_names = [str(key) for key in composed[group]]
    if hint := did_you_mean(name, entry_names, f"{group}."):
        return hint
    if name in registry.list_options(group):
        return f"; {name} is not chosen; choose it by {group}=[{','.join([*entry_names, name])}]"
    return f"; add a class of your own by +{group}.{name}._target_=your_module.Class"
