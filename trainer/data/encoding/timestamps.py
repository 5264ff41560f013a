"""Time stamps as steps of an even grid: their order is checked, and what is missing between them is counted."""

from __future__ import annotations

import calendar
import math
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial

import numpy as np

from trainer.data.encoding.time_formats import (
    SECONDS_PER_DAY,
    find_format,
    parse_cells,
    parse_iso,
    parse_with_format,
    smallest_unit,
)
from trainer.data.readers.delimited import Table
from trainer.data.readers.header_detection import is_number
from trainer.data.readers.text_file import join_names, quote_cell
from trainer.utils.errors import ConfigError

MAX_DIGITS = 6
"""In which differences are alike."""
STEP_TOLERANCE = 0.01
"""By how much of a step a stamp may be off."""
EVEN_SPACING_HINT = "data.time=null takes rows as evenly spaced"
SECONDS_PER_UNIT = {"week": 604800, "day": 86400, "hour": 3600, "minute": 60, "second": 1}
MONTHS_PER_UNIT = {"year": 12, "month": 1}
UNITLESS_STEP = {"": 1}
CLOCK_CHANGES = (1800, 3600)
"""By how many seconds clocks are put forward or back."""
ROUNDING_TOLERANCE = 0.51
"""How many units of its last digit a stamp may be off by rounding."""


def grid_steps(table: Table, at: int, pattern: str | None) -> np.ndarray:
    """How many steps after the first row each row of a table stands, (T,) int64, by its column ``at``.

    ``pattern`` is a format of strptime; without one, stamps are ISO 8601 or numbers. A step is the most frequent
    difference, in months where every stamp stands on the same day of one, or on its last. Stamps may be rounded to the
    digits they are written with, and days may have 23 or 25 hours where clocks are changed.

    Raises ConfigError for a stamp that cannot be read, is not later than the one before, or stands between two steps.
    """
    cells = table.columns[at]
    values, units = _stamps_to_numbers(_read_stamps(table, at, pattern))
    apart = np.diff(values)
    if not len(apart):
        return np.zeros(1, dtype=np.int64)
    if (apart <= 0).any():
        raise ConfigError(_describe_backward_step(table, at, apart))
    digits = max(MAX_DIGITS, MAX_DIGITS - math.floor(math.log10(np.median(apart))))
    sizes, counts = np.unique(apart.round(digits), return_counts=True)
    step = float(sizes[counts.argmax()]) or float(np.median(apart))
    steps = (apart / step).round()
    odd = np.abs(apart / step - steps) > STEP_TOLERANCE
    if not odd.any():
        return np.concatenate(([0], steps.cumsum())).astype(np.int64)
    found = _steps_across_clock_changes(values, step) if units is SECONDS_PER_UNIT else None
    if found is None and units is not MONTHS_PER_UNIT:
        found = _steps_of_rounded_stamps(values, step, _resolutions(cells, pattern, is_date=units is SECONDS_PER_UNIT))
    if found is None:
        row = int(np.argmax(odd))
        raise ConfigError(
            f"{table.describe_cell(row + 1, at)}: {cells[row + 1]} comes "
            f"{_format_duration(apart[row], units)} after {cells[row]}, but"
            f" most rows are {_format_duration(step, units)} apart; {EVEN_SPACING_HINT}"
        )
    return found


def _describe_backward_step(table: Table, at: int, apart: np.ndarray) -> str:
    """What is said of the first row that is not later than the one before."""
    cells, row = table.columns[at], int(np.argmax(apart <= 0))
    hint = "; the newest row comes first, so turn the file round" if (apart < 0).all() else ""
    if not hint and (column := _find_series_column(table, at, apart)) is not None:
        names = join_names(dict.fromkeys(table.columns[column]), 5)
        hint = (
            f"; column {table.names[column]!r} says which of several series a row is of ({names}): give a file of one"
            " of them, or one with a column for each"
        )
    return (
        f"{table.describe_cell(row + 1, at)}: {cells[row + 1]} is not later than {cells[row]} in the row before{hint}"
    )


def _find_series_column(table: Table, at: int, apart: np.ndarray) -> int | None:
    """The column by whose cells rows fall into series in which time goes on; None if there is none."""
    values = np.concatenate(([0.0], apart.cumsum()))
    for place, cells in enumerate(table.columns):
        number = {cell: i for i, cell in enumerate(dict.fromkeys(cells))}
        if place == at or not 1 < len(number) <= len(cells) / 2:
            continue
        group = np.fromiter(map(number.__getitem__, cells), np.int64, len(cells))
        order = np.argsort(group, kind="stable")
        if (np.diff(values[order])[np.diff(group[order]) == 0] > 0).all():
            return place
    return None


def _steps_across_clock_changes(values: np.ndarray, step: float) -> np.ndarray | None:
    """Steps (T,) of days whose stamps in seconds are off the grid by a change of clocks alone; None for others."""
    if step % SECONDS_PER_DAY:
        return None
    steps = ((values - values[0]) / step).round()
    changes = {*(values - values[0] - steps * step).tolist()} - {0.0}
    return steps.astype(np.int64) if len(changes) == 1 and abs(changes.pop()) in CLOCK_CHANGES else None


def _steps_of_rounded_stamps(values: np.ndarray, step: float, resolution: np.ndarray) -> np.ndarray | None:
    """Steps (T,) of stamps that are even but for rounding to their ``resolution`` (T,); None for others."""
    apart = np.diff(values)
    near = apart[(apart / step).round() == 1]
    step = float(near.mean()) if len(near) else step
    steps = np.concatenate(([0.0], (apart / step).round().cumsum()))
    if (np.diff(steps) < 1).any() or steps[-1] < 2:
        return None
    since = values - values[0]
    step, start = np.polyfit(steps, since, 1)
    is_even = (np.abs(since - start - step * steps) <= ROUNDING_TOLERANCE * resolution).all() and (
        2 * resolution < step
    ).all()
    return steps.astype(np.int64) if is_even else None


def _resolutions(cells: Sequence[str], pattern: str | None, *, is_date: bool) -> np.ndarray:
    """The unit of the last digit that each stamp is written with, (T,).

    Numbers may all have as many decimals, or as many significant digits.
    """
    if is_date:
        return np.full(len(cells), smallest_unit(cells[0], pattern))
    read = [Decimal(cell).as_tuple() for cell in cells]
    exponents = np.array([float(number.exponent) for number in read])
    lengths = np.array([len(number.digits) if any(number.digits) else -np.inf for number in read])
    return 10.0 ** np.maximum(exponents.min(), exponents + lengths - lengths.max())


def _read_stamps(table: Table, at: int, pattern: str | None) -> Sequence[datetime] | Sequence[float]:
    cells = table.columns[at]
    dates = parse_cells(cells, parse_iso if pattern is None else partial(parse_with_format, pattern=pattern))
    numbers = [] if pattern is not None or len(dates) == len(cells) else parse_cells(cells, _parse_number)
    found: Sequence[datetime] | Sequence[float] = dates if len(dates) >= len(numbers) else numbers
    if len(found) < len(cells):
        where, cell = table.describe_cell(len(found), at), cells[len(found)]
        if pattern is not None:
            raise ConfigError(f"{where}: {quote_cell(cell)} is not written as data.time_format={pattern}")
        way = find_format(list(dict.fromkeys(cells)))
        how = f'it looks like data.time_format="{way}"' if way else "such as %d.%m.%Y"
        raise ConfigError(
            f"{where}: {quote_cell(cell)} is no time such as 2016-07-31 12:00, and no number; "
            "data.time_format says how it"
            f" is written, {how}"
        )
    return found


def _parse_number(cell: str) -> float:
    if not is_number(cell) or not math.isfinite(value := float(cell)):
        raise ValueError(cell)
    return value


def _stamps_to_numbers(stamps: Sequence[datetime] | Sequence[float]) -> tuple[np.ndarray, dict[str, int]]:
    """Stamps as numbers (T,) float64, and the units those can be told in."""
    dates = [stamp for stamp in stamps if isinstance(stamp, datetime)]
    if not dates:
        return np.array(stamps, dtype=np.float64), UNITLESS_STEP
    # By the clock on the wall, which summer time moves against a zone's own.
    same_time, same_day = (len({part(date) for date in dates}) == 1 for part in (datetime.time, lambda d: d.day))
    if same_time and (same_day or all(map(_is_month_end, dates))):
        return np.array([12.0 * date.year + date.month for date in dates]), MONTHS_PER_UNIT
    return np.array([(date - dates[0]).total_seconds() for date in dates]), SECONDS_PER_UNIT


def _is_month_end(date: datetime) -> bool:
    return date.day == calendar.monthrange(date.year, date.month)[1]


def _format_duration(length: float, units: dict[str, int]) -> str:
    """``3 hours``: in the largest unit that goes into it."""
    name, size = next(((n, s) for n, s in units.items() if length % s == 0), list(units.items())[-1])
    return f"{length / size:g} {name}{'' if length == size else 's'}" if name else f"{length:g}"
