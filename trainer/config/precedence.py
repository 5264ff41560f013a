"""Precedence: which of two files or keys that contradict each other wins."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from omegaconf import DictConfig

from trainer.config import inapplicable_keys, registry
from trainer.config.defaults_list import get_builtin_dir
from trainer.config.override_checks import LENGTH_KEYS


def resolve_precedence(composed: DictConfig, explicit_keys: Collection[str], config_dirs: Sequence[Path] = ()) -> None:
    """Resolve keys that override each other, in place: the source with the highest precedence wins.

    ``epochs`` and ``budget`` replace ``max_steps`` (each sets the length of training), and ``task.scores`` replaces
    ``monitor`` (its first score is the default). A data set's ``monitor`` is dropped if another task than its own is
    chosen, and keys that files set for an optimizer, schedule, data set, ... are dropped if the chosen one does not
    have them.

    Args:
        composed: Composed configuration.
        explicit_keys: Keys of the command line.
        config_dirs: Directories with YAML files of the user.
    """
    inapplicable_keys.drop_inapplicable_keys(composed, config_dirs)
    inapplicable_keys.drop_inapplicable_data_keys(composed, explicit_keys, config_dirs)
    names = composed.hydra.runtime.choices
    experiment, model, data = (
        registry.list_options(group, config_dirs).get(str(names.get(group)))
        for group in ("experiment", "model", "data")
    )
    # Global keys of each source, by decreasing precedence: command line, then files, children before their parents.
    sources = [set(explicit_keys)]
    sources += [
        layer.global_keys for option in (experiment, model, data) if option for layer in reversed(option.layers)
    ]
    length_keys = next((keys for keys in sources if keys & {*LENGTH_KEYS}), set())
    if length_keys and "budget" not in length_keys:
        composed.budget = None
    if "budget" in length_keys or ("epochs" in length_keys and "max_steps" not in length_keys):
        composed.max_steps = None
    if "task.scores" in explicit_keys and "monitor" not in explicit_keys:
        composed.monitor = None
    if data is not None and data.task_name not in (None, names["task"]):
        higher_keys = set(explicit_keys).union(*(option.global_keys for option in (experiment, model) if option))
        if "monitor" in data.global_keys - higher_keys:
            composed.monitor = None


def find_shadowed_files(config_dirs: Sequence[Path]) -> list[str]:
    """Return a problem for each user file that Hydra would ignore because a built-in file has the same name.

    Args:
        config_dirs: Directories with YAML files of the user.
    """
    return [
        f"--config-dir: {option.path} has the name of the built-in {group}={name}, which takes precedence; rename it"
        for directory in config_dirs
        for group in registry.GROUPS
        for name, option in registry.list_dir_options(directory, group).items()
        if name in registry.list_dir_options(get_builtin_dir(), group)
    ]
