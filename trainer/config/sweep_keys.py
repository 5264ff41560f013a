"""Keys of sweeps, which have no effect on a single run: ``jobs``, and the options of launchers and sweepers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from hydra.core.override_parser.types import Override

from trainer.config.launcher_options import LAUNCHER_GROUP, LAUNCHERS, OPTION_PREFIX, SWEEPER_GROUP, get_option_types

JOB_DEFAULTS: Mapping[str, Any] = {"jobs": None, "jobs_per_device": 1}
"""Defaults of the global keys that only a sweep reads. A YAML file may set them for the sweeps it is used in."""
_PREFIXES: Mapping[str, str] = {OPTION_PREFIX: LAUNCHER_GROUP, "hydra.sweeper.": SWEEPER_GROUP}
"""Group that must be chosen for options, by their prefix."""


def find_sweep_problems(item: Override, keys: Collection[str], *, is_single_run: bool) -> list[str]:
    """Return the problem of an override of a sweep without a sweep, or of an option without its launcher or sweeper.

    Args:
        item: Parsed override with one value.
        keys: Keys and groups that the command line sets.
        is_single_run: Whether the command trains one run, and no sweep.

    Returns:
        A list that is empty or contains one problem.
    """
    key = item.key_or_group
    if key in JOB_DEFAULTS and is_single_run and item.value() != JOB_DEFAULTS[key]:
        return [f"{key}: it has no effect on a single run; add -m for a sweep"]
    for prefix, group in _PREFIXES.items():
        if key.startswith(prefix) and group not in keys:
            option = key.removeprefix(prefix)
            owners = [name for name in LAUNCHERS if prefix == OPTION_PREFIX]
            owners = [name for name in owners if option in get_option_types(LAUNCHERS[name])] or ["NAME"]
            return [f"{key}: it has no effect without {' or '.join(f'{group}={name}' for name in owners)}"]
    return []
