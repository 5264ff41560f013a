"""Time stamps as steps of an even grid: their order is checked, and what is missing between them is counted."""

from __future__ import annotations

import calendar
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np

from trainer.data.parts.tables import Table
from trainer.errors import ConfigError

UNEVEN = 0.01
"""By how much of a step a stamp may be off."""
EVEN = "data.time=null takes rows as evenly spaced"
SECONDS = {"week": 604800, "day": 86400, "hour": 3600, "minute": 60, "second": 1}
MONTHS = {"year": 12, "month": 1}
STEPS = {"": 1}
Read = TypeVar("Read")


def places(table: Table, at: int, pattern: str | None) -> np.ndarray:
    """How many steps after the first row each row of a table stands, (T,) int64, by its column ``at``.

    ``pattern`` is a format of strptime; without one, stamps are ISO 8601 or numbers. A step is the most frequent
    difference, in months where every stamp stands on the same day of one, or on its last.

    Raises ConfigError for a stamp that cannot be read, is not later than the one before, or stands between two steps.
    """
    cells = table.columns[at]
    values, units = _numbers(_read(table, at, pattern))
    apart = np.diff(values)
    if not len(apart):
        return np.zeros(1, dtype=np.int64)
    if (apart <= 0).any():
        row = int(np.argmax(apart <= 0))
        newest = "; the newest row comes first, so turn the file round" if (apart < 0).all() else ""
        raise ConfigError(
            f"{table.where(row + 1, at)}: {cells[row + 1]} is not later than {cells[row]} in the row before{newest}"
        )
    sizes, counts = np.unique(apart.round(6), return_counts=True)
    step = float(sizes[counts.argmax()])
    steps = (apart / step).round()
    odd = np.abs(apart / step - steps) > UNEVEN
    if odd.any():
        row = int(np.argmax(odd))
        raise ConfigError(
            f"{table.where(row + 1, at)}: {cells[row + 1]} comes {_named(apart[row], units)} after {cells[row]}, but"
            f" most rows are {_named(step, units)} apart; {EVEN}"
        )
    return np.concatenate(([0], steps.cumsum())).astype(np.int64)


def are_dates(cells: Sequence[str]) -> bool:
    """Whether a column holds dates that need no format to be read."""
    return len(_parsed(cells, _date)) == len(cells)


def _read(table: Table, at: int, pattern: str | None) -> Sequence[datetime] | Sequence[float]:
    cells = table.columns[at]
    dates = _parsed(cells, _date if pattern is None else lambda cell: datetime.strptime(cell, pattern))
    numbers = [] if pattern is not None or len(dates) == len(cells) else _parsed(cells, _number)
    found: Sequence[datetime] | Sequence[float] = dates if len(dates) >= len(numbers) else numbers
    if len(found) < len(cells):
        where, cell = table.where(len(found), at), cells[len(found)]
        if pattern is not None:
            raise ConfigError(f"{where}: {cell!r} is not written as data.time_format={pattern}")
        raise ConfigError(
            f"{where}: {cell!r} is no time such as 2016-07-31 12:00, and no number; data.time_format says how it is"
            " written, such as %d.%m.%Y"
        )
    return found


def _parsed(cells: Sequence[str], parse: Callable[[str], Read]) -> list[Read]:
    """The cells up to the first that cannot be parsed."""
    found = []
    try:
        for cell in cells:
            found.append(parse(cell))
    except ValueError:
        pass  # the caller sees how far it went
    return found


def _date(cell: str) -> datetime:
    """ISO 8601; a month alone is its first day, and a time without a zone is in UTC as far as differences go."""
    found = datetime.fromisoformat(f"{cell}-01" if re.fullmatch(r"\d{4}-\d\d", cell) else cell)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _number(cell: str) -> float:
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(cell)
    return value


def _numbers(stamps: Sequence[datetime] | Sequence[float]) -> tuple[np.ndarray, dict[str, int]]:
    """Stamps as numbers (T,) float64, and the units those can be told in."""
    dates = [stamp for stamp in stamps if isinstance(stamp, datetime)]
    if not dates:
        return np.array(stamps, dtype=np.float64), STEPS
    same_time, same_day = (len({part(date) for date in dates}) == 1 for part in (datetime.timetz, lambda d: d.day))
    if same_time and (same_day or all(map(_ends_a_month, dates))):
        return np.array([12.0 * date.year + date.month for date in dates]), MONTHS
    return np.array([(date - dates[0]).total_seconds() for date in dates]), SECONDS


def _ends_a_month(date: datetime) -> bool:
    return date.day == calendar.monthrange(date.year, date.month)[1]


def _named(length: float, units: dict[str, int]) -> str:
    """``3 hours``: in the largest unit that goes into it."""
    name, size = next(((n, s) for n, s in units.items() if length % s == 0), list(units.items())[-1])
    return f"{length / size:g} {name}{'' if length == size else 's'}" if name else f"{length:g}"
