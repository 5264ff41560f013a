"""Detection of date and time formats and their resolution."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

SECONDS_PER_DAY = 86400
MAX_SAMPLED_CELLS = 100
"""Maximum number of distinct cells for format detection."""
DATE_FORMATS = (
    "%d.%m.%Y",
    "%d.%m.%y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%Y/%m/%d",
    "%d-%m-%Y",
    "%m-%d-%Y",
)
NAMED_MONTH_FORMATS = ("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %Y", "%B %Y")
TIME_FORMATS = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
FORMATS = (
    *(
        f"{day}{time}"
        for day in (*DATE_FORMATS, *NAMED_MONTH_FORMATS)
        for time in ("", *(f" {t}" for t in TIME_FORMATS))
    ),
    *TIME_FORMATS,
)
Parsed = TypeVar("Parsed")


def parse_cells(cells: Sequence[str], parse: Callable[[str], Parsed]) -> list[Parsed]:
    """Parse cells up to the first invalid one.

    Args:
        cells: Cells.
        parse: Parser of one cell, which raises ValueError.
    """
    values = []
    try:
        for cell in cells:
            values.append(parse(cell))
    except ValueError:
        pass  # the caller compares lengths
    return values


def parse_iso(cell: str) -> datetime:
    """Parse an ISO 8601 date or time; a month is its first day, and naive times are in UTC."""
    time = datetime.fromisoformat(f"{cell}-01" if re.fullmatch(r"\d{4}-\d\d", cell) else cell)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def parse_with_format(cell: str, pattern: str) -> datetime:
    return datetime.strptime(cell, pattern)


def find_format(cells: Sequence[str]) -> str | None:
    """Return the strptime format of dates or times, "" for ISO 8601, or None if some cell is neither."""
    sample = list(cells[:MAX_SAMPLED_CELLS])
    if not sample or not any(char.isdigit() for char in sample[0]):
        return None
    if len(parse_cells(sample, parse_iso)) == len(sample):
        return ""
    return next(
        (
            pattern
            for pattern in FORMATS
            if len(parse_cells(sample, partial(parse_with_format, pattern=pattern))) == len(sample)
        ),
        None,
    )


def smallest_unit(cell: str, pattern: str | None) -> float:
    """Return the resolution of a time as written, in seconds.

    Args:
        cell: Cell with a time.
        pattern: strptime format; None for ISO 8601.
    """
    if pattern is not None:
        units = {"%f": 1e-6, "%S": 1.0, "%M": 60.0, "%H": 3600.0, "%I": 3600.0}
        return min((unit for key, unit in units.items() if key in pattern), default=float(SECONDS_PER_DAY))
    time = re.search(r"[T ]\d\d(:?\d\d)?(:?\d\d)?(?:[.,](\d+))?", cell)
    if time is None:
        return float(SECONDS_PER_DAY)
    minutes, seconds, digits = time.groups()
    return 10.0 ** -len(digits) if digits else 1.0 if seconds else 60.0 if minutes else 3600.0
