"""Formatting of dates and times like the cells of a column: separators, padding, decimals and UTC offset."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import combinations

MAX_COMPARED_CELLS = 50
"""Number of first and of last cells with which a format is compared."""
UNPADDED_DIRECTIVES = "dmHI"
"""strptime directives that are often written without leading zeros."""
Formatter = Callable[[datetime], str]

_DIRECTIVE = re.compile(r"%(.)")
_ZONE = re.compile(r"(?:Z|[+-]\d\d(?::?\d\d)?)\Z")
_ISO = re.compile(
    r"\d{4}(?P<dash>-?)(?:(?P<week>W)\d\d(?:-?(?P<weekday>\d))?|\d\d(?:-?(?P<day>\d\d))?)"
    r"(?:(?P<mark>.)\d\d(?:(?P<colon>:?)(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:(?P<point>[.,])(?P<digits>\d+))?)?)?)?"
    r"(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?"
)


def find_formatter(cells: Sequence[str], times: Sequence[datetime], pattern: str | None) -> Formatter:
    """Return a function that writes times like the cells of a column.

    Args:
        cells: Cells of the column.
        times: Parsed cells.
        pattern: strptime format of the cells; None for ISO 8601.
    """
    ends = range(min(MAX_COMPARED_CELLS, len(cells))), range(max(0, len(cells) - MAX_COMPARED_CELLS), len(cells))
    compared = [(cells[row], times[row]) for part in ends for row in part]
    candidates = _iso_formatters(cells[-1]) if pattern is None else _pattern_formatters(cells[-1], pattern)
    formatters = list(candidates)
    return next((f for f in formatters if all(f(time) == cell for cell, time in compared)), formatters[0])


def _iso_formatters(cell: str) -> Iterator[Formatter]:
    """Yield the formats that an ISO 8601 cell may have."""
    parts = _ISO.fullmatch(cell)
    if parts is not None:
        template = _make_iso_template(parts)
        yield lambda time: _expand(time, template, "", len(parts["digits"] or ""), cell)
        # As written by isoformat(): no decimals where they are zero.
        with_decimals = template.replace("%S", "%S.%f") if not parts["digits"] else template
        without = with_decimals.replace(".%f", "")
        yield lambda time: _expand(time, with_decimals if time.microsecond else without, "", 6, cell)
    is_naive = parts is not None and not parts["zone"]
    yield lambda time: (time.replace(tzinfo=None) if is_naive else time).isoformat(" " if " " in cell else "T")


def _make_iso_template(parts: re.Match[str]) -> str:
    dash, colon = parts["dash"], parts["colon"] or ""
    if parts["week"]:
        date = f"%G{dash}W%V" + (f"{dash}%u" if parts["weekday"] else "")
    else:
        date = f"%Y{dash}%m" + (f"{dash}%d" if parts["day"] else "")
    time = "" if parts["mark"] is None else f"{parts['mark']}%H"
    time += f"{colon}%M" if parts["minute"] else ""
    time += f"{colon}%S" if parts["second"] else ""
    time += f"{parts['point']}%f" if parts["digits"] else ""
    return date + time + ("%z" if parts["zone"] else "")


def _pattern_formatters(cell: str, pattern: str) -> Iterator[Formatter]:
    """Yield the ways to write a strptime format: with leading zeros, or without those of as many parts as possible."""
    fractions = re.findall(r"[.,](\d+)", cell) if re.search(r"[.,]%f", pattern) else []
    digits = len(fractions[-1]) if fractions else 6
    optional = [key for key in UNPADDED_DIRECTIVES if f"%{key}" in pattern]
    subsets = [keys for count in range(len(optional), 0, -1) for keys in combinations(optional, count)]
    for keys in map("".join, [(), *subsets]):
        yield partial(_expand, pattern=pattern, unpadded=keys, digits=digits, cell=cell)


def _expand(time: datetime, pattern: str, unpadded: str, digits: int, cell: str) -> str:
    """Write a time with a strptime format.

    Args:
        time: The time.
        pattern: strptime format.
        unpadded: Directives that are written without leading zeros.
        digits: Number of decimals of seconds.
        cell: Cell that shows how the UTC offset is written.
    """

    def write(match: re.Match[str]) -> str:
        key = match[1]
        if key == "f":
            return f"{time.microsecond:06d}"[:digits].ljust(digits, "0")
        if key in ("z", "Z"):
            return _format_zone(time, cell, key)
        if key in ("Y", "G"):
            return f"{time.year if key == 'Y' else time.isocalendar().year:04d}"
        text = time.strftime(match[0])
        return (text.lstrip("0") or "0") if key in unpadded else text

    return _DIRECTIVE.sub(write, pattern)


def _format_zone(time: datetime, cell: str, key: str) -> str:
    if key == "Z":
        name = re.search(r"UTC|GMT", cell, re.IGNORECASE)
        return name[0] if name else time.tzname() or ""
    style = _ZONE.search(cell)
    offset = time.utcoffset() or timedelta()
    if style is not None and style[0] == "Z" and not offset:
        return "Z"
    sign, minutes = "-" if offset < timedelta() else "+", round(abs(offset).total_seconds() / 60)
    hours, minutes = divmod(minutes, 60)
    if style is not None and len(style[0]) == 3 and not minutes:
        return f"{sign}{hours:02d}"
    return f"{sign}{hours:02d}{'' if style is not None and ':' not in style[0] else ':'}{minutes:02d}"
