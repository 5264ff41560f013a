"""Checks of overrides: those are rejected that Hydra would ignore, or that would not do what was intended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override, OverrideType

from trainer.config import hydra_compose, launcher_options, registry
from trainer.config.allowed_keys import ALLOWED_HYDRA_GROUPS, COMMAND_LINE_HYDRA_PREFIXES, is_list_entry
from trainer.config.registry import LIST_GROUPS
from trainer.config.sweep_grid import find_invalid_sweep
from trainer.utils.suggest import did_you_mean

LENGTH_KEYS = ("epochs", "max_steps", "budget")
"""Keys that each set the length of training."""


def find_override_problems(item: Override, *, is_sweep: bool = False) -> list[str]:
    """Return the problem of an override that Hydra would accept but that has no effect or an unintended one.

    Args:
        item: Parsed override.
        is_sweep: Whether several values are allowed.

    Returns:
        A list that is empty or contains one problem.
    """
    key = item.key_or_group
    if not key:
        return [f"{item.input_line}: there is no key before ="]
    if item.package is not None:
        return [f"{key}@{item.package}: a group cannot be placed in another package; write {key}=NAME"]
    if item.is_sweep_override() and not is_sweep:
        return [
            find_invalid_sweep(item)
            or f"{item.input_line}: several values need a sweep; run train -m {item.input_line}"
        ]
    if item.type in (OverrideType.ADD, OverrideType.FORCE_ADD) and not is_list_entry(key):
        is_group = key in registry.GROUPS
        return [f"{key}: {'leave out the +' if is_group else 'unknown key; + adds keys that nothing reads'}"]
    if item.type == OverrideType.DEL:
        return [f"{key}: ~ would delete a key that the program reads; set it to null or choose another option"]
    is_hydra_key = key.split(".")[0].split("/")[0] == "hydra"
    if key == "hydra.searchpath":
        return [f"{key}: add a directory of YAML files by --config-dir DIR"]
    if is_hydra_key and item.is_sweep_override():
        return [f"{item.input_line}: Hydra's own keys take one value"]
    if (group := key.replace(".", "/")) in ALLOWED_HYDRA_GROUPS and group != key:
        return [f"{key}: it is chosen by a slash; did you mean {group}{(item.input_line or '')[len(key) :]}?"]
    is_allowed = key.startswith(COMMAND_LINE_HYDRA_PREFIXES) or key in ALLOWED_HYDRA_GROUPS
    if is_hydra_key and (not is_allowed or "_target_" in (item.input_line or "")):
        allowed = (*(k.rstrip(".") for k in COMMAND_LINE_HYDRA_PREFIXES), *ALLOWED_HYDRA_GROUPS)
        return [f"{key}: of Hydra's own keys, train reads {', '.join(allowed)}"]
    return []


def find_conflicting_overrides(items: Sequence[Override]) -> list[str]:
    """Return a problem for overrides of which one would make the other ineffective.

    Args:
        items: Parsed overrides without sweeps.

    Returns:
        A list that is empty or contains one problem.
    """
    keys = {item.key_or_group for item in items if item.value() is not None}
    given = [key for key in LENGTH_KEYS if key in keys]
    return [f"{' and '.join(given)}: each sets the length of training; keep one"] if len(given) > 1 else []


def find_unknown_option(item: Override, config_dirs: Sequence[Path]) -> str | None:
    """Return a problem, with the nearest and all known names, if an override chooses an option that does not exist.

    Args:
        item: Parsed override whose key is a group.
        config_dirs: Directories with YAML files of the user.
    """
    group, name = item.key_or_group, item.value()
    if group in ALLOWED_HYDRA_GROUPS:
        return _describe_missing_hydra_plugin(group, str(name))
    known_names = registry.list_options(group, config_dirs)
    if group in LIST_GROUPS and isinstance(name, list):
        unknown_names = [str(entry) for entry in name if str(entry) not in known_names]
        return registry.describe_unknown_option(group, unknown_names[0], known_names) if unknown_names else None
    if str(name) in known_names or (group == "experiment" and name is None):
        return None
    return registry.describe_unknown_option(group, "null" if name is None else str(name), known_names)


def _describe_missing_hydra_plugin(group: str, name: str) -> str | None:
    """Return a problem if there is no such launcher or sweeper."""
    installed = hydra_compose.list_hydra_options(group)
    if name in installed:
        return None
    if group == launcher_options.LAUNCHER_GROUP:
        own_names = {*launcher_options.LAUNCHERS, *installed}
        if name not in own_names:
            return (
                f"{group} {name!r} does not exist{did_you_mean(name, own_names) or ';'} {', '.join(sorted(own_names))}"
            )
        return f"{group} {name!r} runs sweeps without hydra/sweeper; Hydra's sweepers run with {', '.join(installed)}"
    return (
        f"{group} {name!r} is not installed{did_you_mean(name, installed) or ';'} installed: {', '.join(installed)};"
        " others come with packages such as hydra-optuna-sweeper"
    )
