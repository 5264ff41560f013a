"""Whether the first row of a table names its columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import pairwise

SAMPLE_ROWS = 200
"""How many rows the guesses at delimiter and header look at."""
MIN_ROWS = 20
"""So many rows tell an index from which some were taken out, and so many numbers with decimals that a first row without
any is of names. Where there are two columns these tell nothing: a first row of 0 and 1 may be where a curve begins."""
YEAR_RANGE = range(1500, 2200)
GAP_WORDS = ("", "?", "na", "n/a", "nan", "null", "none", "-")
"""What stands for a gap in most files: texts that say nothing of a header."""

_NUMBER = re.compile(
    r"[+\-\u2212]?(?:\d[\d.,'\u2019\u00a0\u202f ]*|[.,]\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf)", re.ASCII
)
_INTEGER = re.compile(r"0|-?[1-9]\d*", re.ASCII)
_FRACTION = re.compile(r"[.,eE]")


def is_number(cell: str) -> bool:
    """Whether a cell is a number by whatever signs."""
    return _NUMBER.fullmatch(cell.lower()) is not None


def has_column_names(first: Sequence[str], expected: Collection[str | int | None]) -> bool:
    """Whether a first row holds one of the texts among the columns that will be asked for, or all of the numbers.

    A number that may be the place of a column says nothing of its name.
    """
    places = range(-len(first), len(first))
    texts = {key for key in expected if isinstance(key, str) and not is_number(key)}
    numbers = {str(key) for key in expected if key is not None and key not in texts and key not in places}
    return not texts.isdisjoint(first) or (bool(numbers) and numbers <= set(first))


def looks_like_header(rows: Sequence[Sequence[str]]) -> bool | None:
    """Whether the first row names the columns; None where that cannot be told.

    Names come once, and the rows below are of another kind: a column below a text holds numbers, or no name comes
    again in its column. Numbers are names where they count or are years, and those below are written with decimals.
    """
    first, below = rows[0], rows[1 : SAMPLE_ROWS + 1]
    named = [cell for cell in first if cell]
    if not named or len(set(named)) < len(named) or len(named) < len(first) - 1:
        return False
    columns = list(zip(*below, strict=True))
    if any(map(is_number, first)):
        return _are_numeric_names(first, columns)
    if any(any(map(is_number, column)) for column in columns):
        return True
    return all(name not in column for name, column in zip(first, columns, strict=False))


def _are_numeric_names(first: Sequence[str], columns: Sequence[Sequence[str]]) -> bool | None:
    """The same of a first row with numbers in it, such as 0, 1, 2 over an array, or a column for each year."""
    if not columns or any(cell and cell.lower() in GAP_WORDS for cell in first):
        return False
    numbers = [place for place, cell in enumerate(first) if is_number(cell)]
    texts = [place for place, cell in enumerate(first) if place not in numbers and cell.lower() not in GAP_WORDS]
    if any(first[place][0].isalpha() and _has_only_numbers(columns[place]) for place in texts):
        return True
    written = [first[place] for place in numbers]
    counted = [cell.removesuffix(".0") for cell in written]
    from_zero = counted == list(map(str, range(len(counted))))
    if any(first[place] in columns[place] for place in texts):
        return False
    if from_zero and not first[0] and numbers[0] == 1 and _is_row_name_column(columns[0]):
        return True
    if from_zero and len(first) == 1:  # a series of pandas, or a curve that begins at 0
        return None if len(columns[0]) >= MIN_ROWS and all(map(_FRACTION.search, columns[0])) else False
    if written != counted:
        return None if from_zero and len(numbers) > 2 else False
    if not _is_arithmetic_sequence(counted):
        return False
    # From 0 by ones, as pandas counts, is a row by a rare chance: whole numbers below may well be among them.
    if not from_zero and any(first[place] in columns[place] for place in numbers):
        return False
    if len(numbers) > 1 and texts and all(len(set(columns[place])) < len(columns[place]) for place in texts):
        return True
    if any(first[place] in columns[place] for place in numbers):
        return None if len(numbers) > 2 else False
    are_years = int(first[numbers[0]]) in YEAR_RANGE
    known = [cell for place in numbers for cell in columns[place] if cell.lower() not in GAP_WORDS]
    if (are_years or len(numbers) > 2) and len(known) >= MIN_ROWS and all(map(_FRACTION.search, known)):
        return True
    return None if len(numbers) > 1 and (are_years or first[numbers[0]] in ("0", "1")) else False


def _has_only_numbers(cells: Sequence[str]) -> bool:
    known = [cell for cell in cells if cell.lower() not in GAP_WORDS]
    return bool(known) and all(map(is_number, known))


def is_row_number_column(cells: Sequence[str]) -> bool:
    """Whether a column holds another whole number in each of several rows."""
    return len(cells) > 1 and len(set(cells)) == len(cells) and all(map(_INTEGER.fullmatch, cells))


def _is_row_name_column(cells: Sequence[str]) -> bool:
    """Whether a column holds another text in each row, such as a date; or numbers in order, and by ones unless there
    are enough rows to tell: some may have been taken out."""
    if not is_row_number_column(cells):
        return len(set(cells)) == len(cells) > 1 and "" not in cells and not any(map(is_number, cells))
    steps = [int(after) - int(before) for before, after in pairwise(cells)]
    return min(steps) > 0 and (max(steps) == 1 or len(cells) >= MIN_ROWS)


def _is_arithmetic_sequence(cells: Sequence[str]) -> bool:
    """Whether whole numbers go up by equal steps, or are years that go up; a single one must be a year."""
    if not all(map(_INTEGER.fullmatch, cells)):
        return False
    values = list(map(int, cells))
    steps = {later - before for before, later in pairwise(values)}
    are_years = all(value in YEAR_RANGE for value in values)
    if len(values) == 1 or (are_years and all(step > 0 for step in steps)):
        return are_years
    return len(steps) == 1 and min(steps) > 0
