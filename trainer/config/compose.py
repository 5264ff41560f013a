"""Configurations, composed by Hydra and validated before torch is imported; all problems are reported at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from trainer.config import (
    budget_keys,
    checkpoint_keys,
    config_dir,
    debug_keys,
    ensemble_keys,
    hydra_compose,
    init_keys,
    match_keys,
    parallel_keys,
    precedence,
    registry,
    resume_keys,
    schedule_keys,
    sweep_keys,
    target_overrides,
)
from trainer.config.allowed_keys import ALLOWED_HYDRA_GROUPS
from trainer.config.override_checks import find_conflicting_overrides, find_override_problems, find_unknown_option
from trainer.config.override_parser import parse_overrides
from trainer.config.registry import OBJECT_GROUPS
from trainer.config.run_config import Config
from trainer.config.schema import Settings
from trainer.config.validation import check_config, declare_config_plugins, find_problems
from trainer.utils.errors import ConfigError, IncompatibleError, UnknownNameError


def compose(overrides: Sequence[str] = (), config_dirs: Sequence[Path] = (), *, is_single_run: bool = False) -> Config:
    """Compose and validate the configuration of a command line.

    Args:
        overrides: Overrides, such as ``["model=lstm", "optimizer.lr=0.01"]``.
        config_dirs: Directories with YAML files of the user.
        is_single_run: Whether the command trains it alone, and no sweep reads the keys of sweeps.

    Raises:
        UnknownNameError: A key or an option does not exist. Contains all other problems too.
        IncompatibleError: The only problems are options that are incompatible with each other.
        ConfigError: There are other problems; all of them are listed.
    """
    parsed = parse_overrides(overrides, config_dirs)
    groups = registry.list_groups(config_dirs) | {*ALLOWED_HYDRA_GROUPS}
    valid, problems = _check_overrides(parsed)
    problems += precedence.find_shadowed_files(config_dirs)
    choices = [item for item in valid if item.key_or_group in groups]
    assignments = [item for item in valid if item.key_or_group not in groups]
    unknown_options = [problem for item in choices if (problem := find_unknown_option(item, config_dirs))]
    known_choices = [item for item in choices if not find_unknown_option(item, config_dirs)]
    composed = hydra_compose.compose_base(
        tuple(item.input_line or "" for item in known_choices if item.value() is not None), tuple(config_dirs)
    )
    # Keys of an option that does not exist cannot be checked, nor the task it would choose; everything else can.
    unchecked_groups = {i.key_or_group for i in parsed if i.key_or_group in groups and i not in known_choices}
    is_task_known = any(item.key_or_group == "task" for item in known_choices)
    if unchecked_groups & {"model", "data", "experiment"} and not is_task_known:
        unchecked_groups.add("task")
    problems += find_conflicting_overrides(assignments)
    explicit_keys = {item.key_or_group for item in parsed if item.key_or_group not in groups}
    precedence.resolve_precedence(composed, explicit_keys, config_dirs)
    _declare_named_plugins(assignments)
    target_overrides.expand_targets(composed, assignments, config_dirs)
    unknown_keys = [
        problem
        for item in assignments
        if item.key_or_group.split(".")[0] not in unchecked_groups
        for problem in hydra_compose.set_override(composed, item)
    ]
    raw, resolved, interpolation_problems = hydra_compose.to_containers(composed)
    names = {group: str(name) for group, name in composed.hydra.runtime.choices.items() if group in OBJECT_GROUPS}
    problems += interpolation_problems or declare_config_plugins(resolved)
    config_problems, conflicts = (
        ([], []) if interpolation_problems else find_problems(resolved, names, config_dirs, unchecked_groups)
    )
    problems += [*config_problems, *init_keys.find_init_problems(resolved), *resume_keys.find_resume_problems(resolved)]
    if not problems:
        problems = find_key_problems(resolved, explicit_keys, is_single_run=is_single_run)
    if not problems and not conflicts:
        conflicts = find_ineffective_keys(resolved, parsed, is_single_run=is_single_run)
    if unknown_options or unknown_keys:
        raise UnknownNameError(*unknown_options, *unknown_keys, *dict.fromkeys([*problems, *conflicts]))
    if problems or conflicts:
        raise (ConfigError if problems else IncompatibleError)(*dict.fromkeys([*problems, *conflicts]))
    return replace(_make_config(composed, raw, resolved, overrides), config_dirs=[str(path) for path in config_dirs])


def find_key_problems(resolved: Mapping[str, Any], explicit_keys: Collection[str], *, is_single_run: bool) -> list[str]:
    """Return the problems of global keys that depend on others, in a configuration whose values are valid.

    Args:
        resolved: The configuration.
        explicit_keys: Keys that the command line sets.
        is_single_run: Whether the command trains it alone.
    """
    problems = parallel_keys.find_parallel_problems(resolved) + match_keys.find_match_problems(resolved)
    problems += debug_keys.find_debug_problems(resolved, explicit_keys, is_single_run=is_single_run)
    problems += schedule_keys.find_schedule_problems(resolved)
    return problems + ensemble_keys.find_ensemble_problems(resolved)


def from_hydra(composed: DictConfig) -> Config:
    """Return the validated configuration of a job that was composed by one of Hydra's own sweepers.

    Args:
        composed: Configuration of the job, as Hydra passes it to the main function.

    Raises:
        ConfigError: The configuration is invalid; all problems are listed.
    """
    hydra_config = HydraConfig.get()
    merged = composed.copy()
    with open_dict(merged):
        merged.hydra = hydra_config
    groups = registry.list_groups()
    assignments = [item for item in parse_overrides(hydra_config.overrides.task) if item.key_or_group not in groups]
    precedence.resolve_precedence(merged, {item.key_or_group for item in assignments})
    _declare_named_plugins(assignments)
    target_overrides.expand_targets(merged, assignments)
    # Again, because an inapplicable key that was dropped may be set on the command line too.
    unknown_keys = [problem for item in assignments for problem in hydra_compose.set_override(merged, item)]
    raw, resolved, interpolation_problems = hydra_compose.to_containers(merged)
    problems = unknown_keys + interpolation_problems
    names = {group: str(name) for group, name in hydra_config.runtime.choices.items() if group in OBJECT_GROUPS}
    if not problems:
        problems = declare_config_plugins(resolved) + check_config(resolved, names)
        problems += init_keys.find_init_problems(resolved) + resume_keys.find_resume_problems(resolved)
        if not problems:
            problems = find_key_problems(resolved, (), is_single_run=False)
        problems += [] if problems else find_ineffective_keys(resolved, assignments)
    if problems:
        raise ConfigError(*problems)
    config_dirs = config_dir.read_searchpath(hydra_config.searchpath)
    return replace(_make_config(merged, raw, resolved, list(hydra_config.overrides.task)), config_dirs=config_dirs)


def _check_overrides(parsed: Sequence[Override]) -> tuple[list[Override], list[str]]:
    """Return the overrides that are valid by themselves, and the problems of the others."""
    keys = {item.key_or_group for item in parsed}
    checked = [(item, find_override_problems(item) or sweep_keys.find_option_problems(item, keys)) for item in parsed]
    valid = [item for item, problems in checked if not problems]
    return valid, [problem for _, problems in checked for problem in problems]


def find_ineffective_keys(
    resolved: Mapping[str, Any], parsed: Sequence[Override], *, is_single_run: bool = False
) -> list[str]:
    """Return the problems of keys of a command line that have no effect; a resumed run keeps its other keys.

    Args:
        resolved: The configuration.
        parsed: Overrides of the command line.
        is_single_run: Whether the command trains it alone.
    """
    keys = {item.key_or_group for item in parsed}
    problems = sweep_keys.find_ineffective_keys(resolved, keys) if is_single_run else []
    if resume_keys.names_run(resolved):
        return problems
    # Without its processes, a model that needs a strategy would train in another way, even if a YAML file asks for it.
    problems += parallel_keys.find_ineffective_keys(resolved, keys | {"strategy"})
    return problems + checkpoint_keys.find_ineffective_keys(resolved, keys)


def _declare_named_plugins(items: Sequence[Override]) -> None:
    """Declare the plugins of a command line, so that its classes are found; problems are reported later."""
    for item in items:
        if item.key_or_group == "plugins":
            declare_config_plugins({"plugins": item.value()})


def _make_config(
    composed: DictConfig, raw: dict[str, Any], resolved: dict[str, Any], overrides: Sequence[str]
) -> Config:
    HydraConfig.instance().set_config(composed)
    hydra = composed.hydra
    raw, resolved = (init_keys.with_resolved_source(tree, resolved) for tree in (raw, resolved))
    raw, resolved = (parallel_keys.with_resolved_shards(tree, resolved) for tree in (raw, resolved))
    raw, resolved = (budget_keys.with_equal_text(tree, resolved) for tree in (raw, resolved))
    raw, resolved = (debug_keys.with_one_step(tree, resolved) for tree in (raw, resolved))
    names = {group: str(name) for group, name in hydra.runtime.choices.items() if group in OBJECT_GROUPS}
    global_values = {key: resolved[key] for key in get_type_hints(Settings)}
    try:
        directories = str(hydra.run.dir), str(hydra.sweep.dir)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    return Config(resolved, raw, names, list(overrides), *directories, Settings(**global_values))
