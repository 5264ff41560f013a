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
from trainer.config.compose import RUNTIME_ONLY_KEYS, Config
from trainer.config.defaults_list import get_builtin_dir
from trainer.config.overrides import parse_overrides
from trainer.config.schema import Settings
from trainer.config.validation import (
    LIST_GROUPS,
    NO_NAMES,
    OBJECT_GROUPS,
    check_config,
    check_value,
    declare_config_plugins,
)
from trainer.runs import recovery, run_dir
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError
from trainer.utils.paths import describe_missing_path
from trainer.utils.suggest import did_you_mean

OVERRIDABLE_KEYS = {
    "device",
    "threads",
    "num_workers",
    "worker_timeout",
    "data_dir",
    "allow_changed_data",
    "verbose",
    "debug",
}
"""Keys that depend on the machine and the command, so that a subcommand may override them."""


VERB_EXAMPLES = {
    "resume": "lstm-adding",
    "sample": 'char_lstm-tinyshakespeare prompt="To be"',
    "score": "vae-digits input=digits.csv",
    "show": "cnn-digits features=LAYER row=0",
}
"""Example of a run and its arguments for each subcommand."""


def load_from_args(verb: str, arguments: Sequence[str]) -> tuple[Config, list[str]]:
    """Load the configuration of the run that a subcommand is given, with its runtime overrides applied.

    Returns:
        The configuration, and the remaining arguments, which are the subcommand's own.

    Raises:
        ConfigError: There is no run directory or several, or as ``load`` and ``with_verb_overrides``.
    """
    words, modules = plugins.split_plugin_args(arguments)
    folders = [word for word in words if run_dir.is_path(word)]
    if len(folders) != 1:
        run, *more = VERB_EXAMPLES.get(verb, VERB_EXAMPLES["resume"]).split(" ", 1)
        example = " ".join([f"train {verb} outputs/2026-01-31/12-00-00-{run}", *more])
        raise ConfigError(f"train {verb} takes one run folder, as in: {example}")
    words = [word for word in words if word not in folders]
    here = [word for word in words if word.partition("=")[0] in OVERRIDABLE_KEYS or word.startswith("data.")]
    kept = load(Path(folders[0]), modules)
    unused = [name for name in modules if name not in kept.settings.plugins]
    if unused:
        raise ConfigError(f"plugins: this run was trained without the module {', '.join(unused)}")
    return with_verb_overrides(kept, here), [word for word in words if word not in here]


def with_verb_overrides(kept: Config, words: Sequence[str]) -> Config:
    """Apply overrides of a subcommand: another device or data directory, and files of the data that were moved.

    Raises:
        ConfigError: With every problem: an invalid value, or a key that would make it another run.
    """
    kinds = get_type_hints(Settings, include_extras=True)
    paths = [*introspection.find_data_paths(kept.tree["data"]["_target_"]), *({"data_dir"} & kept.tree["data"].keys())]
    places, known = ([f"data.{key}" for key in keys] for keys in (paths, [*paths, *kept.tree["data"]]))
    problems: list[str] = []
    flat: dict[str, Any] = {}
    moved: dict[str, str] = {}
    for item in parse_overrides(words):
        key, value = item.key_or_group, item.value()
        if key in OVERRIDABLE_KEYS:
            problems += check_value(key, value, kinds[key])
            flat[key] = value
        elif key in places:
            problems += check_value(key, value, str)
            moved[key.removeprefix("data.")] = str(Path(str(value)).expanduser().absolute())
        else:
            is_kept = key in known or not key.startswith("data.")
            why = (
                "the configuration of a trained run is fixed;"
                if is_kept
                else f"unknown key{did_you_mean(key, known) or ';'}"
            )
            problems.append(
                f"{key}: {why} for a run that is used again: {', '.join((*sorted(OVERRIDABLE_KEYS), *places))}"
            )
    if problems:
        raise ConfigError(*problems)
    return replace(_with_global_keys(kept, flat), moved_paths=moved)


def load(path: Path, modules: Sequence[str] = ()) -> Config:
    """Load and check the configuration of a run directory, which is data and not trusted.

    Args:
        path: the run directory.
        modules: the plugins that may be imported, of those that the run names.

    Raises:
        ConfigError: if the directory is not of a run, or its configuration is no longer valid.
    """
    if not recovery.read_results(path):
        raise ConfigError(f"{path.absolute()} is not a run folder: {describe_missing_path(path)}")
    result = Result.read(path)
    raw, tree = read_config(path)
    names = dict(result.options)
    if not names.keys() <= {*OBJECT_GROUPS} or not names.keys() >= {*NO_NAMES}:
        given, built = ", ".join(names), ", ".join(OBJECT_GROUPS)
        raise ConfigError(f"{path / run_dir.RESULTS_FILE} is not that of a run: options are of {given}, not of {built}")
    tree, names = _with_defaults(tree, names)
    unnamed = plugins.find_undeclared_plugins(tree["plugins"], modules)
    if unnamed:
        raise ConfigError(*unnamed)
    problems = declare_config_plugins(tree) + check_config(tree, names)
    problems += [
        f"{key} was left out as a secret when the run was stored; a value such as {key}='${{oc.env:NAME}}' is stored by"
        " its name"
        for key in secret_masking.find_masked_keys(tree)
    ]
    if problems:
        raise ConfigError(*(f"{path / run_dir.CONFIG_FILE}: {problem}" for problem in problems))
    flat = Settings(**{key: tree[key] for key in Settings.__dataclass_fields__})
    overrides = migrations.migrate_overrides(result.overrides, tree)
    return Config(tree, raw, names, overrides, str(path), str(path), flat, result.home)


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

    usual = read(get_builtin_dir() / "train.yaml")
    chosen = {group: registry.default_option(group) for group in OBJECT_GROUPS if group not in names}
    lists = {group: registry.default_option(group) for group in LIST_GROUPS if group not in tree}
    groups = {group: read(get_builtin_dir() / group / f"{name}.yaml") for group, name in (chosen | lists).items()}
    flat = {key: usual[key] for key in Settings.__dataclass_fields__ if key not in tree}
    return flat | groups | tree, {**names, **chosen}


def diff(asked: Config, kept: Config) -> list[str]:
    """List the overrides of a command line that contradict the run it resumes."""
    problems = []
    for key in (item.key_or_group for item in parse_overrides(asked.overrides)):
        before, now = (
            config.names[key] if key in config.names else OmegaConf.select(OmegaConf.create(dict(config.tree)), key)
            for config in (kept, asked)
        )
        if key.split(".")[0] not in RUNTIME_ONLY_KEYS and before != now:
            problems.append(f"{key}: the run has {before!r}, {now!r} given")
    return problems


def with_runtime_overrides(kept: Config, asked: Config) -> Config:
    """Apply the runtime-only keys of a command line to a saved run: device, data directory, verbosity, loggers."""
    given = {item.key_or_group.split(".")[0] for item in parse_overrides(asked.overrides)} & RUNTIME_ONLY_KEYS
    return _with_global_keys(kept, {key: asked.tree[key] for key in given})


def _with_global_keys(kept: Config, new: Mapping[str, Any]) -> Config:
    """Replace global keys, also where a group repeats one, as in ``data_dir: ${data_dir}``."""

    def change(node: Mapping[str, Any]) -> dict[str, Any]:
        repeats = {key for key in new.keys() & node.keys() if node[key] == kept.tree[key]}
        deeper = {key: change(value) for key, value in node.items() if isinstance(value, Mapping)}
        return {**node, **deeper, **{key: new[key] for key in repeats}}

    flat = {key: value for key, value in new.items() if key not in LIST_GROUPS}
    return replace(kept, tree=change(kept.tree), settings=replace(kept.settings, **flat))
