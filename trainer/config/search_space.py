"""Spaces of configurations that a search chooses from, parsed from overrides in Hydra's grammar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Sweep

from trainer.config import registry
from trainer.config.override_checks import find_conflicting_overrides, find_override_problems
from trainer.config.override_parser import parse_overrides
from trainer.config.run_config import RUNTIME_ONLY_KEYS
from trainer.config.sweep_grid import MAX_JOBS, find_invalid_sweep
from trainer.utils.errors import ConfigError

SIGNIFICANT_DIGITS = 4
"""Digits of a number drawn from an interval, so that it is short on a command line."""
LOG_TAG = "log"
_ROW_KEYS = ("name", "path", "test_path", "source", "target", "split_column", "val", "test", "seed")
DATA_KEYS = frozenset(("data", *(f"data.{name}" for name in _ROW_KEYS)))
"""Keys that decide which rows are scored."""


@dataclass(frozen=True)
class Choice:
    """Key with a finite list of values.

    Attributes:
        key: Key or group.
        element: The key as on the command line, maybe with ``+``.
        values: Values as on the command line.
        is_group: Whether its values are options of a group.
    """

    key: str
    element: str
    values: tuple[str, ...]
    is_group: bool = False

    @property
    def size(self) -> int | None:
        """Number of values; None if they are not a finite list."""
        return len(self.values)

    @property
    def extremes(self) -> tuple[str, str]:
        """First and last value."""
        return self.values[0], self.values[-1]

    def pick(self, position: float) -> str:
        """Return the value at a position in [0, 1)."""
        return self.values[min(int(position * len(self.values)), len(self.values) - 1)]

    def encode(self, value: str) -> float:
        """Return a number for a value: itself if all values are numbers, else its place in the list."""
        number = _to_number(value)
        return number if self.is_numeric and number is not None else float(self.values.index(value))

    @property
    def is_numeric(self) -> bool:
        """Return whether all values are numbers."""
        return all(_to_number(text) is not None for text in self.values)


@dataclass(frozen=True)
class Interval:
    """Key with values between two bounds.

    Attributes:
        key: Dotted key.
        element: The key as on the command line, maybe with ``+``.
        low: Smallest value.
        high: Largest value.
        is_log: Whether the logarithm is uniform.
        is_integer: Whether values are integers; both bounds are then among them.
    """

    key: str
    element: str
    low: float
    high: float
    is_log: bool = False
    is_integer: bool = False
    is_group = False

    @property
    def size(self) -> int | None:
        """Number of values; None if they are not a finite list."""
        return int(self.high - self.low) + 1 if self.is_integer else None

    @property
    def extremes(self) -> tuple[str, str]:
        """Smallest and largest value."""
        return self.pick(0.0), self.pick(1.0)

    def pick(self, position: float) -> str:
        """Return the value at a position in [0, 1]."""
        low, high = self.low, self.high + self.is_integer
        value = low * (high / low) ** position if self.is_log else low + (high - low) * position
        return str(min(int(value), int(self.high))) if self.is_integer else self.format(value)

    def format(self, value: float) -> str:
        """Return a number of the interval as on the command line, with few digits."""
        if self.is_integer:
            return str(int(value))
        rounded = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
        return repr(min(max(rounded, self.low), self.high))

    def encode(self, value: str) -> float:
        """Return a number for a value, its logarithm if that is uniform."""
        return math.log(float(value)) if self.is_log else float(value)

    def describe_integers(self) -> str:
        """Return how the interval of the integers between the bounds is written."""
        text = f"int(interval({math.ceil(self.low)},{math.floor(self.high)}))"
        return f"tag({LOG_TAG},{text})" if self.is_log else text


Dimension = Choice | Interval


@dataclass(frozen=True)
class Space:
    """Configurations that a search chooses from.

    Attributes:
        dimensions: Keys with several values.
        fixed: The other overrides of the command line.
        descriptions: Overrides of the dimensions, as written.
    """

    dimensions: tuple[Dimension, ...]
    fixed: tuple[str, ...]
    descriptions: tuple[str, ...]

    @property
    def size(self) -> int | None:
        """Number of points, before those that the same configuration has are merged; None if it is not finite."""
        sizes = [dimension.size for dimension in self.dimensions]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def to_overrides(self, values: Mapping[str, str]) -> list[str]:
        """Return the command line of a point.

        Args:
            values: Value of each key that it has.
        """
        return [*self.fixed, *self.list_assignments(values)]

    def list_assignments(self, values: Mapping[str, str]) -> list[str]:
        """Return the overrides of the keys of a point alone.

        Args:
            values: Value of each key that it has.
        """
        return [f"{item.element}={values[item.key]}" for item in self.dimensions if item.key in values]


def parse_space(overrides: Sequence[str], config_dirs: Sequence[Path] = ()) -> Space:
    """Separate the keys with several values from the others.

    Args:
        overrides: Overrides of the command line.
        config_dirs: Directories with YAML files of the user.

    Raises:
        ConfigError: A range is invalid or has no effect, or there is nothing to choose; all problems are listed.
    """
    items = parse_overrides(overrides, config_dirs)
    # The last override of a key counts, as everywhere; that of a sweep file comes before the command line.
    last = {item.key_or_group: item for item in items}
    swept = [item for item in last.values() if item.is_sweep_override()]
    fixed = [item for item in items if last[item.key_or_group] is item and not item.is_sweep_override()]
    problems = [problem for item in swept for problem in _find_problems(item, config_dirs)]
    problems += find_conflicting_overrides([item for item in last.values() if item not in swept])
    problems += _find_conflicting_lengths(swept, fixed)
    if not swept and not problems:
        problems = [
            "search: no key has several values; give ranges, such as optimizer.lr='tag(log,interval(1e-4,1e-1))',"
            " model.hidden_size=32,64 or sweep=NAME"
        ]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    groups = registry.list_groups(config_dirs)
    dimensions = tuple(_make_dimension(item, item.key_or_group in groups) for item in swept)
    words = tuple(item.input_line or "" for item in fixed)
    return Space(dimensions, words, tuple(item.input_line or "" for item in swept))


def _find_conflicting_lengths(swept: Sequence[Override], fixed: Sequence[Override]) -> list[str]:
    keys = {item.key_or_group for item in (*swept, *fixed)}
    is_conflict = {"epochs", "max_steps"} <= keys and any(i.key_or_group in ("epochs", "max_steps") for i in swept)
    return ["epochs and max_steps: each sets the length of training; keep one"] if is_conflict else []


def _find_problems(item: Override, config_dirs: Sequence[Path]) -> list[str]:
    """Return the problems of an override with several values."""
    key, value = item.key_or_group, item._value
    problems = find_override_problems(item, is_sweep=True)
    if key == "seed":
        problems.append("seed: seeds=N trains the finalists with further seeds; leave the range of seeds out")
    elif key in ("monitor", "task"):
        problems.append(f"{key}: scores of different metrics cannot be ranked against each other; give one value")
    elif key in DATA_KEYS:
        problems.append(
            f"{key}: scores on different rows cannot be ranked against each other; give one value, and search each data"
            " set by a command of its own"
        )
    elif key in RUNTIME_ONLY_KEYS:
        problems.append(f"{key}: it does not change what is learned, so there is nothing to search; give one value")
    if isinstance(value, IntervalSweep):
        return problems + _find_interval_problems(item, value)
    if isinstance(value, Sweep) and value.tags:
        problems.append(f"{item.input_line}: tag(...) is about interval(...); a list of values is used as it is")
    if problem := find_invalid_sweep(item, config_dirs):
        return [*problems, problem]
    if key in registry.GROUPS and isinstance(value, ChoiceSweep):
        known = registry.list_options(key, config_dirs)
        names = [name for name in map(str, item.sweep_string_iterator()) if name[:1] not in "[{"]
        problems += [registry.describe_unknown_option(key, name, known) for name in names if name not in known]
    return problems


def _find_interval_problems(item: Override, value: IntervalSweep) -> list[str]:
    """Return the problem of an interval that cannot be drawn from."""
    low, high = value.start, value.end
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high) and low < high):
        return [f"{item.input_line}: interval(LOW,HIGH) takes finite numbers with LOW below HIGH"]
    if unknown := value.tags - {LOG_TAG}:
        return [f"{item.input_line}: tag {', '.join(sorted(unknown))} has no meaning here; tag(log,...) has"]
    if value.tags and low <= 0:
        return [f"{item.input_line}: the logarithm needs numbers above 0; start at a small one"]
    if isinstance(low, int) and high - low >= MAX_JOBS * MAX_JOBS:
        return [f"{item.input_line}: too many integers"]
    return []


def _make_dimension(item: Override, is_group: bool) -> Dimension:
    key, element, value = item.key_or_group, item.get_key_element(), item._value
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        is_integer = isinstance(value.start, int) and isinstance(value.end, int)
        return Interval(key, element, value.start, value.end, LOG_TAG in value.tags, is_integer)
    texts = item.sweep_string_iterator()
    if isinstance(value, RangeSweep):  # adding 0.1 three times gives 0.30000000000000004
        texts = (text if text.lstrip("-").isdigit() else repr(float(f"{float(text):.12g}")) for text in texts)
    values = tuple(dict.fromkeys(texts))
    return Choice(key, element, values, is_group)


def _to_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
