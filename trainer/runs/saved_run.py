"""Saved runs: the configuration in a run directory, read back without importing torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from trainer.config import introspection, migrations, plugins, registry, secret_masking, yaml_limits
from trainer.config.compatibility import CORE_GROUPS
from trainer.config.compose import RUNTIME_ONLY_KEYS, Config
from trainer.config.defaults_list import get_builtin_dir
from trainer.config.overrides import parse_overrides
from trainer.config.registry import LIST_GROUPS, OBJECT_GROUPS
from trainer.config.schema import Settings
from trainer.config.validation import (
    check_config,
    check_value,
    declare_config_plugins,
)
from trainer.runs import recovery, run_dir
from trainer.runs.commands import COMMANDS, OVERRIDABLE_KEYS
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError
from trainer.utils.paths import describe_missing_path, is_path_argument
from trainer.utils.suggest import did_you_mean


def load_from_args(verb: str, arguments: Sequence[str]) -> tuple[Config, list[str]]:
    """Load the configuration of the run that a subcommand names, with its runtime overrides applied.

    Args:
        verb: Name of the subcommand, for messages.
        arguments: Its arguments: a run directory, overrides, plugins, and options of the subcommand.

    Returns:
        The configuration, and the remaining arguments, which are options of the subcommand.

    Raises:
        ConfigError: There is no run directory or several, or as ``load`` and ``with_verb_overrides``.
    """
    words, modules = plugins.split_plugin_args(arguments)
    run_dirs = [word for word in words if is_path_argument(word)]
    if len(run_dirs) != 1:
        raise ConfigError(f"train {verb} takes one run directory, as in: train {verb} {COMMANDS[verb].example}")
    words = [word for word in words if word not in run_dirs]
    overrides = [word for word in words if word.partition("=")[0] in OVERRIDABLE_KEYS or word.startswith("data.")]
    config = load(Path(run_dirs[0]), modules)
    unused_modules = [name for name in modules if name not in config.settings.plugins]
    if unused_modules:
        raise ConfigError(f"plugins: this run was trained without the module {', '.join(unused_modules)}")
    return with_verb_overrides(config, overrides), [word for word in words if word not in overrides]


def with_verb_overrides(config: Config, words: Sequence[str]) -> Config:
    """Apply overrides of a subcommand: another device or data directory, and new paths of moved data files.

    Args:
        config: Configuration of the run.
        words: The overrides.

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
        if key in OVERRIDABLE_KEYS:
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
            problems.append(
                f"{key}: {reason} for a run that is used again: {', '.join((*sorted(OVERRIDABLE_KEYS), *path_keys))}"
            )
    if problems:
        raise ConfigError(*problems)
    return replace(_with_global_keys(config, flat), moved_paths=moved_paths)


def load(path: Path, modules: Sequence[str] = ()) -> Config:
    """Load and check the configuration of a run directory, which is data and not trusted.

    Args:
        path: The run directory.
        modules: Plugins of the run that may be imported.

    Raises:
        ConfigError: The directory is not a run directory, or its configuration is no longer valid.
    """
    while os.path.islink(path):  # such as outputs/latest, which a resumed run points at itself
        path = path.parent / os.readlink(path)
    if not recovery.read_results(path):
        raise ConfigError(f"{path.absolute()} is not a run directory: {describe_missing_path(path)}")
    result = Result.read(path)
    raw, tree = read_config(path)
    names = dict(result.options)
    if not names.keys() <= {*OBJECT_GROUPS} or not names.keys() >= {*CORE_GROUPS}:
        present, expected = ", ".join(names), ", ".join(OBJECT_GROUPS)
        raise ConfigError(
            f"{path / run_dir.RESULTS_FILE} is not a results file of a run: it has options of {present},"
            f" not of {expected}"
        )
    tree, names = _with_defaults(tree, names)
    unnamed = plugins.find_undeclared_plugins(tree["plugins"], modules)
    if unnamed:
        raise ConfigError(*unnamed)
    problems = declare_config_plugins(tree) + check_config(tree, names)
    problems += [
        f"{key} was left out as a secret when the run was saved; a value such as {key}='${{oc.env:NAME}}' is saved by"
        " its name"
        for key in secret_masking.find_masked_keys(tree)
    ]
    if problems:
        raise ConfigError(*(f"{path / run_dir.CONFIG_FILE}: {problem}" for problem in problems))
    flat = Settings(**{key: tree[key] for key in Settings.__dataclass_fields__})
    overrides = migrations.migrate_overrides(result.overrides, tree)
    return Config(tree, raw, names, overrides, str(path), str(path), flat, result.working_dir)


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the configuration of a run directory, as written and resolved; a lost one from the newest checkpoint.

    Raises:
        ConfigError: It does not exist, cannot be read, or is not a configuration.
    """
    file = path / run_dir.CONFIG_FILE
    try:
        if os.path.lexists(file):
            yaml_limits.read_yaml(file)
            loaded = OmegaConf.load(file)
        else:
            loaded = OmegaConf.create(recovery.read_config(path))
        raw = OmegaConf.to_container(loaded, resolve=False)
        yaml_limits.check_interpolations(raw)
        tree = OmegaConf.to_container(loaded, resolve=True)
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(raw, dict) or not isinstance(tree, dict) or not raw:
        raise ConfigError(f"{file} is not the configuration of a run")
    version = migrations.check_version(tree.pop(migrations.KEY, 1), file)
    raw.pop(migrations.KEY, None)
    raw, tree = (migrations.migrate_config(cast(dict[str, Any], each), version) for each in (raw, tree))
    return raw, tree


def _with_defaults(tree: dict[str, Any], names: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Add the global keys and groups that did not exist when a configuration was saved, with their defaults."""

    def read(path: Path) -> dict[str, Any]:
        return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path), resolve=False))

    defaults = read(get_builtin_dir() / "train.yaml")
    default_options = {group: registry.get_default_option(group) for group in OBJECT_GROUPS if group not in names}
    lists = {group: registry.get_default_option(group) for group in LIST_GROUPS if group not in tree}
    options = default_options | lists
    groups = {group: read(get_builtin_dir() / group / f"{name}.yaml") for group, name in options.items()}
    flat = {key: defaults[key] for key in Settings.__dataclass_fields__ if key not in tree}
    return flat | groups | tree, {**names, **default_options}


def find_conflicting_overrides(new_config: Config, saved_config: Config) -> list[str]:
    """List the overrides of a command line that contradict the run it resumes.

    Args:
        new_config: Configuration of the command line.
        saved_config: Configuration of the saved run.
    """
    problems = []
    for key in (item.key_or_group for item in parse_overrides(new_config.overrides)):
        saved_value, value = (
            source.names[key] if key in source.names else OmegaConf.select(OmegaConf.create(dict(source.tree)), key)
            for source in (saved_config, new_config)
        )
        if key.split(".")[0] not in RUNTIME_ONLY_KEYS and saved_value != value:
            problems.append(f"{key}: the run has {saved_value!r}, {value!r} given")
    return problems


def with_runtime_overrides(config: Config, new_config: Config) -> Config:
    """Apply the runtime-only keys of a command line to a saved run: device, data directory, verbosity, loggers.

    Args:
        config: Configuration of the saved run.
        new_config: Configuration of the command line.
    """
    keys = {item.key_or_group.split(".")[0] for item in parse_overrides(new_config.overrides)} & RUNTIME_ONLY_KEYS
    return _with_global_keys(config, {key: new_config.tree[key] for key in keys})


def _with_global_keys(config: Config, new: Mapping[str, Any]) -> Config:
    """Replace global keys, also within groups that refer to them, as in ``data_dir: ${data_dir}``."""

    def change(node: Mapping[str, Any]) -> dict[str, Any]:
        repeated_keys = {key for key in new.keys() & node.keys() if node[key] == config.tree[key]}
        children = {key: change(value) for key, value in node.items() if isinstance(value, Mapping)}
        return {**node, **children, **{key: new[key] for key in repeated_keys}}

    flat = {key: value for key, value in new.items() if key not in LIST_GROUPS}
    return replace(config, tree=change(config.tree), settings=replace(config.settings, **flat))
