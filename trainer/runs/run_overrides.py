"""Overrides of the configuration of a saved run: by the command line of a subcommand or of a resumed run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

from trainer.config import checkpoint_keys, debug_keys, introspection, parallel_keys, plugins
from trainer.config.override_parser import parse_overrides
from trainer.config.registry import LIST_GROUPS
from trainer.config.run_config import RUNTIME_ONLY_KEYS, Config
from trainer.config.schema import Settings
from trainer.config.validation import check_value
from trainer.runs import saved_run
from trainer.runs.commands import CHECKPOINT_KEY, COMMANDS, OVERRIDABLE_KEYS, TRAINING_KEYS
from trainer.utils.errors import ConfigError
from trainer.utils.paths import is_path_argument
from trainer.utils.suggest import did_you_mean


def load_from_args(verb: str, arguments: Sequence[str]) -> tuple[Config, list[str]]:
    """Load the configuration of the run that a subcommand names, with its runtime overrides applied.

    Args:
        verb: Name of the subcommand, for messages.
        arguments: Its arguments: a run directory, overrides, plugins, and options of the subcommand.

    Returns:
        The configuration, and the remaining arguments, which are options of the subcommand.

    Raises:
        ConfigError: There is no run directory or several, or as ``saved_run.load`` and ``with_verb_overrides``.
    """
    words, modules = plugins.split_plugin_args(arguments)
    run_dirs = [word for word in words if is_path_argument(word)]
    if len(run_dirs) != 1:
        raise ConfigError(_describe_run_dirs(verb, run_dirs))
    words = [word for word in words if word not in run_dirs]
    keys = {*OVERRIDABLE_KEYS, *(TRAINING_KEYS.keys() & COMMANDS[verb].keys)}
    checkpoints = [word for word in words if word.startswith(f"{CHECKPOINT_KEY}=")]
    words = [word for word in words if word not in checkpoints or CHECKPOINT_KEY not in COMMANDS[verb].keys]
    overrides = [word for word in words if word.partition("=")[0] in keys or word.startswith("data.")]
    config = saved_run.load(Path(run_dirs[0]), modules)
    unused_modules = [name for name in modules if name not in config.settings.plugins]
    if unused_modules:
        raise ConfigError(f"plugins: this run was trained without the module {', '.join(unused_modules)}")
    config = with_verb_overrides(config, overrides, keys)
    if checkpoints and CHECKPOINT_KEY in COMMANDS[verb].keys:
        config = replace(config, checkpoint=checkpoints[-1].partition("=")[2])
    if keys > OVERRIDABLE_KEYS:
        check_processes(config, {item.key_or_group for item in parse_overrides(overrides)})
    return config, [word for word in words if word not in overrides]


def _describe_run_dirs(verb: str, words: Sequence[str]) -> str:
    """Describe a command line without a run directory, or with further paths, of which one may be the input."""
    example = f"as in: train {verb} {COMMANDS[verb].example}"
    run_dir = next((word for word in words if saved_run.is_run_dir(Path(word))), None)
    others = [word for word in words if word != run_dir and not word.startswith("-")]
    if run_dir is None or len(others) != 1 or "input" not in COMMANDS[verb].keys:
        return f"train {verb} takes one run directory, {example}"
    return f"train {verb} takes one run directory and keys; did you mean input={others[0]}? {example}"


def with_verb_overrides(config: Config, words: Sequence[str], keys: Set[str] = OVERRIDABLE_KEYS) -> Config:
    """Apply overrides of a subcommand: another device or data directory, and new paths of moved data files.

    Args:
        config: Configuration of the run.
        words: The overrides.
        keys: Global keys that they may set.

    Raises:
        ConfigError: A value is invalid, or a key is fixed for a trained run; all problems are reported.
    """
    kinds = get_type_hints(Settings, include_extras=True)
    paths = [
        *introspection.find_data_paths(config.tree["data"]["_target_"]),
        *({"data_dir"} & config.tree["data"].keys()),
    ]
    path_keys, known_keys = ([f"data.{key}" for key in keys] for keys in (paths, [*paths, *config.tree["data"]]))
    problems: list[str] = []
    flat: dict[str, Any] = {}
    moved_paths: dict[str, str] = {}
    for item in parse_overrides(words):
        key, value = item.key_or_group, item.value()
        if key in keys:
            problems += check_value(key, value, kinds[key])
            flat[key] = value
        elif key in path_keys:
            problems += check_value(key, value, str)
            moved_paths[key.removeprefix("data.")] = str(Path(str(value)).expanduser().absolute())
        else:
            is_known = key in known_keys or not key.startswith("data.")
            reason = (
                "the configuration of a trained run is fixed;"
                if is_known
                else f"unknown key{did_you_mean(key, known_keys) or ';'}"
            )
            problems.append(f"{key}: {reason} for a run that is used again: {', '.join((*sorted(keys), *path_keys))}")
    if problems:
        raise ConfigError(*problems)
    if "debug" in flat:
        debug_keys.check_trained_run(flat["debug"], config.settings.debug)
    return replace(_with_global_keys(config, flat), moved_paths=moved_paths)


def with_runtime_overrides(config: Config, new_config: Config) -> Config:
    """Apply the runtime-only keys of a command line to a saved run: device, data directory, verbosity, loggers.

    Args:
        config: Configuration of the saved run.
        new_config: Configuration of the command line.
    """
    keys = {item.key_or_group.split(".")[0] for item in parse_overrides(new_config.overrides)} & RUNTIME_ONLY_KEYS
    if "debug" in keys:
        debug_keys.check_trained_run(new_config.settings.debug, config.settings.debug)
    config = _with_global_keys(config, {key: new_config.tree[key] for key in keys})
    check_processes(config, keys)
    return config


def check_processes(config: Config, keys: Set[str] = frozenset()) -> None:
    """Check that the processes of a resumed run can share its shards, and that the keys that are set have an effect.

    Args:
        config: Configuration of the run; one without shards has a single one.
        keys: Keys that the command line sets.

    Raises:
        ConfigError: They cannot, or a key has none.
    """
    tree = {**config.tree, "shards": config.settings.shards or 1}
    problems = parallel_keys.find_parallel_problems(tree) + parallel_keys.find_ineffective_keys(tree, keys)
    problems += checkpoint_keys.find_ineffective_keys(tree, keys)
    if problems:
        raise ConfigError(*problems)


def _with_global_keys(config: Config, new: Mapping[str, Any]) -> Config:
    """Replace global keys, also within groups that refer to them, as in ``data_dir: ${data_dir}``."""

    def change(node: Mapping[str, Any]) -> dict[str, Any]:
        repeated_keys = {key for key in new.keys() & node.keys() if node[key] == config.tree[key]}
        children = {key: change(value) for key, value in node.items() if isinstance(value, Mapping)}
        return {**node, **children, **{key: new[key] for key in repeated_keys}}

    flat = {key: value for key, value in new.items() if key not in LIST_GROUPS}
    return replace(config, tree=change(config.tree), settings=replace(config.settings, **flat))
