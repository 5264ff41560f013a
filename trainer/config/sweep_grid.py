"""Combinations of the values in a sweep, counted before they are expanded."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep

from trainer.config import registry
from trainer.utils.errors import ConfigError

MAX_JOBS = 100_000
"""Maximum number of jobs in a sweep; more would never finish."""


def expand_combinations(parsed: Sequence[Override], config_dirs: Sequence[Path] = ()) -> list[list[str]]:
    """Return the overrides of each job of a sweep.

    Args:
        parsed: Overrides of the command line.
        config_dirs: Directories of the user whose options ``glob(...)`` can match.

    Raises:
        ConfigError: An override has no finite list of values, or the sweep has more than ``MAX_JOBS`` jobs.
    """
    problems = [problem for item in parsed if (problem := find_invalid_sweep(item, config_dirs))]
    if problems:
        raise ConfigError(*problems)
    sweeps = {item.key_or_group: item for item in parsed if item.is_sweep_override()}
    jobs = math.prod(_count_values(item, config_dirs) for item in sweeps.values())
    if jobs > MAX_JOBS:
        spans = ", ".join(f"{key} {_count_values(item, config_dirs):,}" for key, item in sweeps.items())
        raise ConfigError(f"this sweep has {jobs:,} jobs ({spans}); at most {MAX_JOBS:,}")
    try:
        return BasicSweeper.split_arguments(list(parsed), max_batch_size=None)[0]
    except (ValueError, TypeError) as error:  # sort(...) of values that cannot be compared
        raise ConfigError(f"the values of this sweep cannot be listed: {error}") from error


def find_invalid_sweep(item: Override, config_dirs: Sequence[Path] = ()) -> str | None:
    """Return why an override of a sweep has no finite list of values, or None if it has one.

    Args:
        item: Parsed override.
        config_dirs: Directories of the user whose options ``glob(...)`` can match.
    """
    value, key = item._value, item.key_or_group
    if not item.is_sweep_override():
        return None
    if isinstance(value, IntervalSweep):
        return (
            f"{item.input_line}: interval(...) is for train search, which chooses values itself (search=sobol); a grid"
            f" needs a list of values: {key}={value.start:g},{value.end:g}"
        )
    if isinstance(value, Glob) and key not in registry.list_groups(config_dirs):
        return f"{item.input_line}: glob(...) matches options of a group, but {key} is not a group; list the values"
    if isinstance(value, RangeSweep) and not (value.step and _is_finite(value)):
        return f"{item.input_line}: range(START,STOP,STEP) takes finite numbers and a step other than 0"
    if not _count_values(item, config_dirs):
        reason = f"no {key} has such a name" if isinstance(value, Glob) else "it contains no value"
        return f"{item.input_line}: {reason}, so there is nothing to run"
    return None


def _is_finite(value: RangeSweep) -> bool:
    try:
        return all(math.isfinite(bound) for bound in (value.start or 0, value.stop or 0, value.step))
    except OverflowError:
        return False


def _count_values(item: Override, config_dirs: Sequence[Path]) -> int:
    """Return the number of values of an override; 1 if it is not a sweep."""
    value = item._value
    if isinstance(value, RangeSweep):
        assert value.start is not None
        assert value.stop is not None
        span = (value.stop - value.start) / value.step
        return max(0, math.ceil(span)) if math.isfinite(span) else sys.maxsize
    if isinstance(value, Glob):
        return len(value.filter(list(registry.list_options(item.key_or_group, config_dirs))))
    return len(value.list) if isinstance(value, ChoiceSweep) else 1


class OptionLoader:
    """Replacement for Hydra's config loader that lists the options which ``glob(...)`` can match.

    Args:
        config_dirs: Directories with YAML files of the user.
    """

    def __init__(self, config_dirs: Sequence[Path]):
        self.config_dirs = config_dirs

    def get_group_options(self, group: str, results_filter: object = None) -> list[str]:
        """Return the names of the options of a group.

        Args:
            group: Name of the group.
            results_filter: Part of Hydra's interface; ignored.
        """
        return list(registry.list_options(group, self.config_dirs))
