"""Check of a sweep before it is run by one of Hydra's own sweepers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from hydra.core.override_parser.types import Override

from trainer.config import hydra_compose, registry, secret_masking
from trainer.config.allowed_keys import ALLOWED_HYDRA_GROUPS
from trainer.config.override_checks import find_conflicting_overrides, find_override_problems, find_unknown_option
from trainer.config.override_parser import parse_overrides
from trainer.config.sweep_grid import find_invalid_sweep
from trainer.utils.errors import ConfigError


def check_hydra_sweep(overrides: Sequence[str], config_dirs: Sequence[Path]) -> None:
    """Check the overrides of a sweep that one of Hydra's own sweepers will run, as far as possible in advance.

    Args:
        overrides: Overrides of the command line, with several values for some keys.
        config_dirs: Directories with YAML files of the user.

    Raises:
        ConfigError: An override is invalid, an option does not exist, a secret would be saved, or YAML files do not
            compose; all problems are listed.
    """
    parsed = parse_overrides(overrides, config_dirs)
    problems = [
        problem for item in parsed for problem in find_override_problems(item, is_sweep=True)
    ] + find_conflicting_overrides(parsed)
    groups = registry.list_groups(config_dirs) | {*ALLOWED_HYDRA_GROUPS}
    choices = [
        _expand_choices(item, config_dirs) for item in parsed if item.key_or_group in groups and item.package is None
    ]
    # Hydra's sweeper writes the command line to multirun.yaml verbatim.
    problems += [
        f"{text.partition('=')[0]}: Hydra's sweeper would save this secret to a file; use ${{oc.env:NAME}} instead"
        for text in overrides
        if secret_masking.mask_override(text) != text
    ]
    problems += [
        problem
        for item in parsed
        if item.key_or_group in groups
        for problem in _find_unknown_options(item, config_dirs)
    ]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    # Every combination, because the choices in one file may depend on another.
    for combination in product(*choices) if config_dirs else ((),):
        hydra_compose.compose_base(tuple(combination), tuple(config_dirs))


def _expand_choices(item: Override, config_dirs: Sequence[Path]) -> list[str]:
    """Return the overrides of a group that a sweep will run."""
    key = item.key_or_group
    if not item.is_sweep_override():
        if isinstance(item.value(), list):
            return [item.input_line or ""]
        return [f"{key}={item.value()}"] if item.value() is not None else []
    is_list = item.is_choice_sweep() and not find_invalid_sweep(item, config_dirs)
    names = item.sweep_string_iterator() if is_list else iter(registry.list_options(key, config_dirs))
    return [f"{key}={name}" for name in names]


def _find_unknown_options(item: Override, config_dirs: Sequence[Path]) -> list[str]:
    if item.key_or_group in ALLOWED_HYDRA_GROUPS or not item.is_choice_sweep():
        problem = None if item.is_sweep_override() else find_unknown_option(item, config_dirs)
        return [problem] if problem else []
    if problem := find_invalid_sweep(item, config_dirs):
        return [problem]
    known_names = registry.list_options(item.key_or_group, config_dirs)
    names = map(str, item.sweep_iterator())
    return [
        registry.describe_unknown_option(item.key_or_group, name, known_names)
        for name in names
        if name not in known_names
    ]
