"""Saved runs: the configuration in a run directory or hub folder, read back without importing torch."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from trainer.config import migrations, plugins, registry, secret_masking, yaml_limits
from trainer.config.compatibility import CORE_GROUPS
from trainer.config.defaults_list import get_builtin_dir
from trainer.config.registry import LIST_GROUPS, OBJECT_GROUPS
from trainer.config.run_config import Config
from trainer.config.schema import Settings
from trainer.config.validation import (
    check_config,
    declare_config_plugins,
)
from trainer.runs import hub_folder, recovery, run_dir
from trainer.runs.results import Result
from trainer.runs.run_files import find_run_files
from trainer.utils.errors import ConfigError
from trainer.utils.paths import describe_missing_path
from trainer.utils.suggest import find_nearest, format_suggestion


def load(path: Path, modules: Sequence[str] = ()) -> Config:
    """Load and check the configuration of a run directory, which is data and not trusted.

    Args:
        path: The run directory, or a hub folder.
        modules: Plugins of the run that may be imported.

    Raises:
        ConfigError: The directory is not a run directory, or its configuration is no longer valid.
    """
    path = _follow_links(path)
    if not recovery.read_results(path):
        reason = f"{describe_missing_path(path)}{suggest_run_dir(path)}"
        raise ConfigError(f"{path.absolute()} is not a run directory: {reason}")
    result = Result.read(path)
    raw, tree = read_config(path)
    names = dict(result.options)
    if not names.keys() <= {*OBJECT_GROUPS} or not names.keys() >= {*CORE_GROUPS}:
        present, expected = ", ".join(names), ", ".join(OBJECT_GROUPS)
        file = recovery.find_file(path, run_dir.RESULTS_FILE)
        raise ConfigError(f"{file} is not a results file of a run: it has options of {present}, not of {expected}")
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
    if not problems and hub_folder.is_hub_folder(path):
        problems = hub_folder.find_path_problems(tree["data"])
    if problems:
        file = recovery.find_file(path, run_dir.CONFIG_FILE)
        raise ConfigError(*(f"{file}: {problem}" for problem in problems))
    flat = Settings(**{key: tree[key] for key in Settings.__dataclass_fields__})
    overrides = migrations.migrate_overrides(result.overrides, tree)
    return Config(
        tree, raw, names, overrides, str(path), str(path), flat, result.working_dir, config_dirs=result.config_dirs
    )


def is_run_dir(path: Path) -> bool:
    """Return whether a path is a run directory or a hub folder."""
    # Not Path.is_dir, which raises for names that are too long.
    return os.path.isdir(path) and bool(recovery.read_results(path))


def suggest_run_dir(path: Path) -> str:
    """Return ``; did you mean outputs/latest?``: a run in ``outputs``, its latest, or one of a similar name.

    For the directory of a sweep, it is the command that shows its runs.

    Args:
        path: Path that is no run directory.
    """
    candidates = [Path(run_dir.RUNS_ROOT, path), path / run_dir.LATEST_LINK]
    if not os.path.lexists(path) and os.path.isdir(path.parent) and os.access(path.parent, os.R_OK):
        names = (name for name in sorted(os.listdir(path.parent)) if is_run_dir(path.parent / name))
        candidates += [path.parent / name for name in [find_nearest(path.name, names)] if name]
    candidate = next((directory for directory in candidates if is_run_dir(directory)), None)
    # Not for names that are too long, or folders without permission.
    if (
        candidate is None
        and os.access(path, os.R_OK)
        and os.path.isdir(path)
        and any(find_run_files(path, run_dir.IDENTIFYING_FILES, "*"))
    ):
        return f"; it contains runs: train list runs {shlex.quote(str(path))}"
    return format_suggestion([str(candidate)] if candidate else [])


def _follow_links(path: Path) -> Path:
    """Return the directory that a link points at, such as ``outputs/latest``, which a resumed run points at itself."""
    links: set[Path] = set()
    while os.path.islink(path) and path not in links:  # links may point at each other
        links.add(path)
        path = path.parent / os.readlink(path)
    return path


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the configuration of a run directory, as written and resolved; from another file if it has no own one.

    Raises:
        ConfigError: It does not exist, cannot be read, or is not a configuration.
    """
    file = recovery.find_file(path, run_dir.CONFIG_FILE)
    try:
        if file.name == run_dir.CONFIG_FILE and os.path.lexists(file):
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
