"""Regular time grids: the rhythm of timestamps and the timestamps that continue them."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, Literal

import numpy as np

SECONDS_PER_UNIT = {"week": 604800, "day": 86400, "hour": 3600, "minute": 60, "second": 1}
MONTHS_PER_UNIT = {"year": 12, "month": 1}
SIZES = {"month": MONTHS_PER_UNIT, "second": SECONDS_PER_UNIT, "business day": {"business day": 1}, "": {"": 1}}
"""Sizes of larger units in each unit of a rhythm, largest first."""
MAX_PRECISION = Context(prec=1000)
"""Enough digits for the sum of the largest and the smallest float."""
RELATIVE_TOLERANCE = 0.01
"""Maximum relative difference between the steps of two equal rhythms, as of rounded timestamps."""


@dataclass(frozen=True)
class Rhythm:
    """Distance between successive timestamps.

    Attributes:
        unit: Unit of the distance; empty for timestamps that are plain numbers.
        step: Distance in this unit.
        at_month_end: Whether the timestamps of months are on their last day.
    """

    unit: Literal["month", "second", "business day", ""]
    step: float
    at_month_end: bool = False

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | None) -> Rhythm | None:
        """Return the rhythm of a stored state; None where there is none."""
        return None if state is None else cls(**state)

    def state_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values."""
        return asdict(self)

    def is_close(self, other: Rhythm) -> bool:
        """Return whether another rhythm has the same distance."""
        return self.unit == other.unit and abs(self.step - other.step) <= RELATIVE_TOLERANCE * abs(self.step)

    def __str__(self) -> str:
        return format_duration(self.step, SIZES[self.unit])


def format_duration(length: float, units: Mapping[str, int]) -> str:
    """Format a duration in its largest exact unit, such as ``3 hours``.

    Args:
        length: Duration in the smallest unit.
        units: Size of each unit, largest first.
    """
    name, size = next(((n, s) for n, s in units.items() if length % s == 0), list(units.items())[-1])
    return f"{length / size:g} {name}{'' if length == size else 's'}" if name else f"{length:g}"


@dataclass(frozen=True)
class TimeGrid:
    """Timestamps of the rows of a series on a regular grid.

    Attributes:
        cells: Timestamp (T) of each row, as written.
        steps: Grid step (T,) int64 of each row, ascending from 0.
        rhythm: Distance between two steps; None for a single row.
        name_step: Function that writes the timestamp of a step as a cell; None for a single row.
    """

    cells: Sequence[str]
    steps: np.ndarray
    rhythm: Rhythm | None
    name_step: Callable[[int], str] | None

    def name_steps(self, start: int, stop: int) -> list[str]:
        """Return the timestamps of consecutive steps: those of rows as written, the others computed.

        Args:
            start: First step.
            stop: Step after the last one.

        Raises:
            ValueError: The grid has a single row, and with it no rhythm.
        """
        first, last = np.searchsorted(self.steps, (start, stop)).tolist()
        cells = {int(self.steps[row]): self.cells[row] for row in range(first, last)}
        if len(cells) < stop - start and self.name_step is None:
            raise ValueError("a single timestamp has no rhythm")
        return [cells[step] if step in cells else self.name_step(step) for step in range(start, stop)]  # type: ignore[misc]


def add_rhythm(time: datetime, rhythm: Rhythm, count: int) -> datetime:
    """Return the time a number of steps after another, by the local calendar and clock.

    Days of a month that a later month lacks become its last day. The UTC offset is unchanged.

    Args:
        time: Any time of the grid.
        rhythm: Distance between two steps.
        count: Number of steps, which may be negative.
    """
    if rhythm.unit == "second":
        return time + timedelta(seconds=rhythm.step * count)
    if rhythm.unit == "business day":
        day = np.busday_offset(np.datetime64(time.date()), round(rhythm.step) * count)
        return datetime.combine(date.fromisoformat(str(day)), time.timetz())
    year, month = divmod(12 * time.year + time.month - 1 + round(rhythm.step) * count, 12)
    last_day = calendar.monthrange(year, month + 1)[1]
    day_of_month = last_day if rhythm.at_month_end else min(time.day, last_day)
    return time.replace(year=year, month=month + 1, day=day_of_month)


def round_time(time: datetime, resolution: float) -> datetime:
    """Round a time to a multiple of seconds within its day, such as to the last written digit.

    Args:
        time: The time.
        resolution: Multiple to round to, in seconds.
    """
    midnight = time.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(seconds=round((time - midnight).total_seconds() / resolution) * resolution)


def make_number_namer(cells: Sequence[str], steps: np.ndarray, step: float, offset: float) -> Callable[[int], str]:
    """Return a function that writes the number of a grid step like the cells.

    Args:
        cells: Numbers of the rows.
        steps: Grid step (T,) of each row.
        step: Distance between two steps.
        offset: Number at step 0 relative to the first row, for rounded numbers; 0 for exact ones.
    """
    numbers = [Decimal(cell) for cell in cells]
    distance = (numbers[-1] - numbers[0]) / int(steps[-1]) if len(cells) > 1 else Decimal(repr(step)).normalize()
    written = numbers if len(cells) > 1 else [*numbers, distance]
    decimals = {-min(0, int(number.as_tuple().exponent)) for number in written}
    has_fixed_decimals, quantum = len(decimals) == 1, Decimal(1).scaleb(-max(decimals))
    width = len(cells[-1]) if cells[-1].startswith("0") and cells[-1].isdecimal() and len(cells[-1]) > 1 else 0

    def name_step(grid_step: int) -> str:
        if offset:
            value = numbers[0] + Decimal(offset) + Decimal(step) * grid_step
        else:
            value = numbers[-1] + distance * (grid_step - int(steps[-1]))
        text = f"{value.quantize(quantum, context=MAX_PRECISION):f}"
        return (text if has_fixed_decimals or "." not in text else text.rstrip("0").rstrip(".")).zfill(width)

    return name_step
