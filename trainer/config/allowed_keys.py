"""Keys of Hydra that a command line or a YAML file may set, and keys to which entries may be added."""

from __future__ import annotations

from trainer.config.registry import LIST_GROUPS

COMMAND_LINE_HYDRA_PREFIXES = ("hydra.run.dir", "hydra.sweep.", "hydra.launcher.", "hydra.sweeper.")
"""Prefixes of the keys of Hydra that a command line may set; directories of YAML files are added by --config-dir."""
YAML_HYDRA_KEYS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
"""Keys of Hydra that a YAML file may set: output directories. Hydra acts on others before a job is checked."""
ALLOWED_HYDRA_GROUPS = ("hydra/launcher", "hydra/sweeper")
"""Groups of Hydra that a command line may choose from."""


def is_list_entry(key: str) -> bool:
    """Return whether a key is inside a list group, to which a command line may add entries.

    Args:
        key: Dotted key, such as ``callbacks.early._target_``.
    """
    group, _, name = key.partition(".")
    return group in LIST_GROUPS and bool(name)
