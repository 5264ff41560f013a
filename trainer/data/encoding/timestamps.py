"""Conversion of timestamps to steps of a regular time grid."""

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
from trainer.data.readers.header_detection import is_number
from trainer.data.readers.table import Table
from trainer.data.readers.text_file import quote_cell
from trainer.utils.errors import DataError
from trainer.utils.text import join_names

MAX_DIGITS = 6
"""Significant digits in which differences are compared."""
STEP_TOLERANCE = 0.01
"""Maximum offset of a timestamp from the grid, as a fraction of a step."""
EVEN_SPACING_HINT = "data.time=null treats rows as evenly spaced"
SECONDS_PER_UNIT = {"week": 604800, "day": 86400, "hour": 3600, "minute": 60, "second": 1}
MONTHS_PER_UNIT = {"year": 12, "month": 1}
UNITLESS_STEP = {"": 1}
CLOCK_CHANGES = (1800, 3600)
"""Offsets of daylight saving time in seconds."""
ROUNDING_TOLERANCE = 0.51
"""Maximum rounding error of a timestamp in units of its last digit."""


def grid_steps(table: Table, column: int, pattern: str | None) -> np.ndarray:
    """Return the time step of each row relative to the first, (T,) int64.

    A step is the most frequent difference, in months where all timestamps are on the same day of the month or on its
    last day. Timestamps may be rounded to their written digits, and days may have 23 or 25 hours at daylight saving
    time changes.

    Args:
        table: Table with the timestamps.
        column: Time column.
        pattern: strptime format; None for ISO 8601 or numbers.

    Raises:
        DataError: A timestamp cannot be parsed, is not later than the previous one or is off the grid.
    """
    cells = table.columns[column]
    values, units = _stamps_to_numbers(_read_stamps(table, column, pattern))
    differences = np.diff(values)
    if not len(differences):
        return np.zeros(1, dtype=np.int64)
    if (differences <= 0).any():
        raise DataError(_describe_backward_step(table, column, differences))
    digits = max(MAX_DIGITS, MAX_DIGITS - math.floor(math.log10(np.median(differences))))
    sizes, counts = np.unique(differences.round(digits), return_counts=True)
    step = float(sizes[counts.argmax()]) or float(np.median(differences))
    steps = (differences / step).round()
    off_grid = np.abs(differences / step - steps) > STEP_TOLERANCE
    if not off_grid.any():
        return np.concatenate(([0], steps.cumsum())).astype(np.int64)
    adjusted_steps = _steps_across_clock_changes(values, step) if units is SECONDS_PER_UNIT else None
    if adjusted_steps is None and units is not MONTHS_PER_UNIT:
        adjusted_steps = _steps_of_rounded_stamps(
            values, step, _resolutions(cells, pattern, is_date=units is SECONDS_PER_UNIT)
        )
    if adjusted_steps is None:
        row = int(np.argmax(off_grid))
        raise DataError(
            f"{table.describe_cell(row + 1, column)}: {cells[row + 1]} is "
            f"{_format_duration(differences[row], units)} after {cells[row]}, but"
            f" most rows are {_format_duration(step, units)} apart; {EVEN_SPACING_HINT}"
        )
    return adjusted_steps


def _describe_backward_step(table: Table, column: int, differences: np.ndarray) -> str:
    """Describe the first row that is not later than the previous one."""
    cells, row = table.columns[column], int(np.argmax(differences <= 0))
    hint = "; rows are in reverse order, so reverse the file" if (differences < 0).all() else ""
    if not hint and (series_column := _find_series_column(table, column, differences)) is not None:
        names = join_names(dict.fromkeys(table.columns[series_column]), 5)
        hint = (
            f"; column {table.names[series_column]!r} identifies several series ({names}): use a file with one of them,"
            " or one column per series"
        )
    location = table.describe_cell(row + 1, column)
    return f"{location}: {cells[row + 1]} is not later than {cells[row]} in the previous row{hint}"


def _find_series_column(table: Table, time_column: int, differences: np.ndarray) -> int | None:
    """Return the column that groups rows into series of increasing time, or None."""
    values = np.concatenate(([0.0], differences.cumsum()))
    for column, cells in enumerate(table.columns):
        number = {cell: i for i, cell in enumerate(dict.fromkeys(cells))}
        if column == time_column or not 1 < len(number) <= len(cells) / 2:
            continue
        group = np.fromiter(map(number.__getitem__, cells), np.int64, len(cells))
        order = np.argsort(group, kind="stable")
        if (np.diff(values[order])[np.diff(group[order]) == 0] > 0).all():
            return column
    return None


def _steps_across_clock_changes(values: np.ndarray, step: float) -> np.ndarray | None:
    """Return the steps (T,) of daily timestamps (seconds) that are off the grid by daylight saving only, else None."""
    if step % SECONDS_PER_DAY:
        return None
    steps = ((values - values[0]) / step).round()
    changes = {*(values - values[0] - steps * step).tolist()} - {0.0}
    return steps.astype(np.int64) if len(changes) == 1 and abs(changes.pop()) in CLOCK_CHANGES else None


def _steps_of_rounded_stamps(values: np.ndarray, step: float, resolution: np.ndarray) -> np.ndarray | None:
    """Return the steps (T,) of timestamps that are regular up to rounding to ``resolution`` (T,), else None."""
    differences = np.diff(values)
    single_steps = differences[(differences / step).round() == 1]
    step = float(single_steps.mean()) if len(single_steps) else step
    steps = np.concatenate(([0.0], (differences / step).round().cumsum()))
    if (np.diff(steps) < 1).any() or steps[-1] < 2:
        return None
    elapsed = values - values[0]
    step, start = np.polyfit(steps, elapsed, 1)
    is_even = (np.abs(elapsed - start - step * steps) <= ROUNDING_TOLERANCE * resolution).all() and (
        2 * resolution < step
    ).all()
    return steps.astype(np.int64) if is_even else None


def _resolutions(cells: Sequence[str], pattern: str | None, *, is_date: bool) -> np.ndarray:
    """Return the unit of the last written digit of each timestamp, (T,).

    Numbers may have a fixed number of decimals or of significant digits.
    """
    if is_date:
        return np.full(len(cells), smallest_unit(cells[0], pattern))
    numbers = [Decimal(cell).as_tuple() for cell in cells]
    exponents = np.array([float(number.exponent) for number in numbers])
    lengths = np.array([len(number.digits) if any(number.digits) else -np.inf for number in numbers])
    return 10.0 ** np.maximum(exponents.min(), exponents + lengths - lengths.max())


def _read_stamps(table: Table, column: int, pattern: str | None) -> Sequence[datetime] | Sequence[float]:
    cells = table.columns[column]
    dates = parse_cells(cells, parse_iso if pattern is None else partial(parse_with_format, pattern=pattern))
    numbers = [] if pattern is not None or len(dates) == len(cells) else parse_cells(cells, _parse_number)
    stamps: Sequence[datetime] | Sequence[float] = dates if len(dates) >= len(numbers) else numbers
    if len(stamps) < len(cells):
        location, cell = table.describe_cell(len(stamps), column), cells[len(stamps)]
        if pattern is not None:
            raise DataError(f"{location}: {quote_cell(cell)} does not match data.time_format={pattern}")
        detected_format = find_format(list(dict.fromkeys(cells)))
        hint = f'it looks like data.time_format="{detected_format}"' if detected_format else "such as %d.%m.%Y"
        raise DataError(
            f"{location}: {quote_cell(cell)} is neither a time such as 2016-07-31 12:00 nor a number; "
            f"set data.time_format, {hint}"
        )
    return stamps


def _parse_number(cell: str) -> float:
    if not is_number(cell) or not math.isfinite(value := float(cell)):
        raise ValueError(cell)
    return value


def _stamps_to_numbers(stamps: Sequence[datetime] | Sequence[float]) -> tuple[np.ndarray, dict[str, int]]:
    """Convert timestamps to numbers (T,) float64; also return the units for formatting them."""
    dates = [stamp for stamp in stamps if isinstance(stamp, datetime)]
    if not dates:
        return np.array(stamps, dtype=np.float64), UNITLESS_STEP
    # Compare local wall-clock times, which shift against UTC with daylight saving time.
    same_time, same_day = (len({part(date) for date in dates}) == 1 for part in (datetime.time, lambda d: d.day))
    if same_time and (same_day or all(map(_is_month_end, dates))):
        return np.array([12.0 * date.year + date.month for date in dates]), MONTHS_PER_UNIT
    return np.array([(date - dates[0]).total_seconds() for date in dates]), SECONDS_PER_UNIT


def _is_month_end(date: datetime) -> bool:
    return date.day == calendar.monthrange(date.year, date.month)[1]


def _format_duration(length: float, units: dict[str, int]) -> str:
    """Format a duration in its largest exact unit, such as ``3 hours``."""
    name, size = next(((n, s) for n, s in units.items() if length % s == 0), list(units.items())[-1])
    return f"{length / size:g} {name}{'' if length == size else 's'}" if name else f"{length:g}"
