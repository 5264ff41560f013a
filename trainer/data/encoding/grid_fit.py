"""Fit of a regular grid to timestamps: steps in seconds, months or business days, up to rounding."""

from __future__ import annotations

import calendar
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import numpy as np

from trainer.data.encoding.time_formats import SECONDS_PER_DAY, smallest_unit
from trainer.data.encoding.time_grid import Rhythm

MAX_DIGITS = 6
"""Significant digits in which differences are compared."""
STEP_TOLERANCE = 0.01
"""Maximum offset of a timestamp from the grid, as a fraction of a step."""
EXACT_TOLERANCE = 1e-6
"""Maximum offset, as a fraction of a step, of timestamps that are not rounded."""
CLOCK_CHANGES = (1800, 3600)
"""Offsets of daylight saving time in seconds."""
ROUNDING_TOLERANCE = 0.51
"""Maximum rounding error of a timestamp in units of its last digit."""
Stamps = Sequence[datetime] | Sequence[float]


@dataclass(frozen=True)
class GridFit:
    """Grid that was fitted to timestamps.

    Attributes:
        steps: Grid step (T,) int64 of each timestamp, from 0.
        rhythm: Distance between two steps; None for a single timestamp.
        offset: Time of step 0 relative to the first timestamp, in the unit of the rhythm.
        is_exact: Whether the timestamps are on the grid without rounding.
    """

    steps: np.ndarray
    rhythm: Rhythm | None
    offset: float = 0.0
    is_exact: bool = True


def to_numbers(stamps: Stamps) -> tuple[np.ndarray, Rhythm]:
    """Convert timestamps to numbers (T,) float64 and return their unit, as a rhythm of one unit.

    They are months where all are at the same time, on the same day of the month or on its last day; other dates are
    seconds since the first one.

    Args:
        stamps: Dates, or numbers.
    """
    dates = [stamp for stamp in stamps if isinstance(stamp, datetime)]
    if not dates:
        return np.array(stamps, dtype=np.float64), Rhythm("", 1)
    # Compare local wall-clock times, which shift against UTC with daylight saving time.
    same_time, same_day = (len({part(date) for date in dates}) == 1 for part in (datetime.time, lambda d: d.day))
    at_month_end = all(map(_is_month_end, dates))
    if same_time and (same_day or at_month_end):
        return np.array([12.0 * date.year + date.month for date in dates]), Rhythm("month", 1, at_month_end)
    return np.array([(date - dates[0]).total_seconds() for date in dates]), Rhythm("second", 1)


def find_step(differences: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the most frequent difference of timestamps, and which differences are no multiple of it.

    Args:
        differences: Differences (T - 1) of successive timestamps, all positive.
    """
    digits = max(MAX_DIGITS, MAX_DIGITS - math.floor(math.log10(np.median(differences))))
    sizes, counts = np.unique(differences.round(digits), return_counts=True)
    step = float(sizes[counts.argmax()]) or float(np.median(differences))
    return step, np.abs(differences / step - (differences / step).round()) > STEP_TOLERANCE


def fit_grid(values: np.ndarray, unit: Rhythm, resolution: np.ndarray) -> GridFit | None:
    """Fit a grid to timestamps; None if they are uneven.

    Args:
        values: Ascending timestamps (T,) as numbers.
        unit: Their unit, from ``to_numbers``.
        resolution: Unit (T,) of the last written digit of each timestamp.
    """
    differences = np.diff(values)
    step, is_off_grid = find_step(differences)
    if unit.unit == "second" and (clock_steps := _steps_across_clock_changes(values, step)) is not None:
        return GridFit(clock_steps, _scale(unit, step))
    if not is_off_grid.any():
        steps = np.concatenate(([0], (differences / step).round().cumsum())).astype(np.int64)
        mean = float((values[-1] - values[0]) / steps[-1])
        is_exact = bool((np.abs(values - values[0] - mean * steps) <= EXACT_TOLERANCE * mean).all())
        return GridFit(steps, _scale(unit, mean), is_exact=is_exact)
    return None if unit.unit == "month" else _fit_rounded_stamps(values, unit, step, resolution)


def fit_business_days(stamps: Stamps, min_weekends: int) -> GridFit | None:
    """Fit a grid of the days from Monday to Friday; None if a row is on a weekend or most rows are not a day apart.

    Args:
        stamps: Ascending timestamps.
        min_weekends: Minimum number of weekends between the rows.
    """
    dates = [stamp for stamp in stamps if isinstance(stamp, datetime)]
    if len(dates) < 2 or len({stamp.time() for stamp in dates}) > 1 or any(stamp.weekday() > 4 for stamp in dates):
        return None
    days = np.array([stamp.date() for stamp in dates], dtype="datetime64[D]")
    steps = np.busday_count(days[0], days).astype(np.int64)
    weekends = (days[-1] - days[0]).astype(int) - steps[-1]
    is_daily = np.median(np.diff(steps)) == 1 and np.bincount(np.diff(steps)).argmax() == 1
    return GridFit(steps, Rhythm("business day", 1)) if is_daily and weekends >= 2 * min_weekends else None


def get_resolutions(cells: Sequence[str], pattern: str | None, *, is_date: bool) -> np.ndarray:
    """Return the unit of the last written digit of each timestamp, (T,).

    Numbers may have a fixed number of decimals or of significant digits.

    Args:
        cells: Timestamps as written.
        pattern: strptime format of dates; None for ISO 8601.
        is_date: Whether they are dates rather than numbers.
    """
    if is_date:
        return np.full(len(cells), smallest_unit(cells[0], pattern))
    numbers = [Decimal(cell).as_tuple() for cell in cells]
    exponents = np.array([float(number.exponent) for number in numbers])
    lengths = np.array([len(number.digits) if any(number.digits) else -np.inf for number in numbers])
    return 10.0 ** np.maximum(exponents.min(), exponents + lengths - lengths.max())


def _scale(unit: Rhythm, step: float) -> Rhythm:
    return Rhythm(unit.unit, step, unit.at_month_end)


def _steps_across_clock_changes(values: np.ndarray, step: float) -> np.ndarray | None:
    """Return the steps (T,) of daily timestamps (seconds) that are off the grid by daylight saving only, else None."""
    if step % SECONDS_PER_DAY:
        return None
    steps = ((values - values[0]) / step).round()
    changes = {*(values - values[0] - steps * step).tolist()} - {0.0}
    return steps.astype(np.int64) if len(changes) == 1 and abs(changes.pop()) in CLOCK_CHANGES else None


def _fit_rounded_stamps(values: np.ndarray, unit: Rhythm, step: float, resolution: np.ndarray) -> GridFit | None:
    """Fit a grid to timestamps that are regular up to rounding to ``resolution`` (T,); None if they are not."""
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
    if not is_even:
        return None
    return GridFit(steps.astype(np.int64), _scale(unit, float(step)), float(start), is_exact=False)


def _is_month_end(stamp: date) -> bool:
    return stamp.day == calendar.monthrange(stamp.year, stamp.month)[1]
