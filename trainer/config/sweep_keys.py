"""Keys of sweeps, without effect on a single run: ``jobs``, ``members``, and options of launchers and sweepers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override

from trainer.config.launcher_options import LAUNCHER_GROUP, LAUNCHERS, OPTION_PREFIX, SWEEPER_GROUP, get_option_types
from trainer.config.sweep_file import SWEEP_GROUP

JOB_DEFAULTS: Mapping[str, Any] = {"jobs": None, "jobs_per_device": 1, "members": None}
"""Defaults of the global keys that only a sweep reads."""
_PREFIXES: Mapping[str, str] = {OPTION_PREFIX: LAUNCHER_GROUP, "hydra.sweeper.": SWEEPER_GROUP}
"""Group that must be chosen for options, by their prefix."""
_START_KEYS = {*JOB_DEFAULTS, "resume", "resume_allow", SWEEP_GROUP, LAUNCHER_GROUP, SWEEPER_GROUP}
_START_PREFIXES = (*_PREFIXES, "hydra.sweep.")
"""Keys, and prefixes of others, that say how a command starts, and not what its runs are."""


def select_run_overrides(words: Sequence[str]) -> list[str]:
    """Return the overrides of a command that trains a configuration alone and from its start.

    Args:
        words: Overrides of a run, of a job of a sweep or of a trial of a search.
    """
    keys = [word.lstrip("+").partition("=")[0] for word in words]
    return [
        word
        for word, key in zip(words, keys, strict=True)
        if key not in _START_KEYS and not key.startswith(_START_PREFIXES)
    ]


def find_option_problems(item: Override, keys: Collection[str]) -> list[str]:
    """Return the problem of an option of a launcher or sweeper that is not chosen, in a list that may be empty.

    Args:
        item: Parsed override.
        keys: Keys and groups that the command line sets.
    """
    key = item.key_or_group
    if key == SWEEP_GROUP:
        return [f"{key}: it names a file of ranges, which train -m and train search take, and a single run does not"]
    for prefix, group in _PREFIXES.items():
        if key.startswith(prefix) and group not in keys:
            option = key.removeprefix(prefix)
            owners = [name for name in LAUNCHERS if prefix == OPTION_PREFIX]
            owners = [name for name in owners if option in get_option_types(LAUNCHERS[name])] or ["NAME"]
            return [f"{key}: it has no effect without {' or '.join(f'{group}={name}' for name in owners)}"]
    return []


def find_ineffective_keys(tree: Mapping[str, Any], keys: Collection[str]) -> list[str]:
    """Return the problems of keys that only a sweep reads, for a command that trains a single run.

    Args:
        tree: Resolved configuration.
        keys: Keys that the command line sets; a YAML file may be for sweeps, too.
    """
    return [
        f"{key}: it has no effect on a single run; add -m for a sweep"
        for key, default in JOB_DEFAULTS.items()
        if key in keys and tree[key] != default
    ]
