"""Detection of header rows in tables."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import pairwise

SAMPLE_ROWS = 200
"""Number of rows used to detect delimiter and header."""
MIN_ROWS = 20
"""Rows needed to detect an index with removed rows, and numbers with decimals needed to detect a header of integers.
With two columns the latter is inconclusive: a first row of 0 and 1 may be the start of a curve."""
YEAR_RANGE = range(1500, 2200)
MISSING_TEXTS = ("", "?", "na", "n/a", "nan", "null", "none", "-")
"""Common texts for missing values, which are no evidence of a header."""

_NUMBER = re.compile(
    r"[+\-\u2212]?(?:\d[\d.,'\u2019\u00a0\u202f ]*|[.,]\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf)", re.ASCII
)
_INTEGER = re.compile(r"0|-?[1-9]\d*", re.ASCII)
_FRACTION = re.compile(r"[.,eE]")


def is_number(cell: str) -> bool:
    """Return whether a cell is a number in any format."""
    return _NUMBER.fullmatch(cell.lower()) is not None


def has_column_names(first: Sequence[str], expected: Collection[str | int | None]) -> bool:
    """Return whether a first row has one of the text names in ``expected``, or all of the numeric ones.

    Numbers that are valid column positions are ignored.

    Args:
        first: Cells of the first row.
        expected: Columns that the caller will look up, by name or number.
    """
    positions = range(-len(first), len(first))
    texts = {key for key in expected if isinstance(key, str) and not is_number(key)}
    numbers = {str(key) for key in expected if key is not None and key not in texts and key not in positions}
    return not texts.isdisjoint(first) or (bool(numbers) and numbers <= set(first))


def looks_like_header(rows: Sequence[Sequence[str]]) -> bool | None:
    """Return whether the first row is a header; None if undecidable.

    Names are unique and differ in type from the rows below: a column below a text holds numbers, or no name recurs in
    its column. Numbers are names where they are consecutive or years, and those below have decimals.
    """
    first, body = rows[0], rows[1 : SAMPLE_ROWS + 1]
    names = [cell for cell in first if cell]
    if not names or len(set(names)) < len(names) or len(names) < len(first) - 1:
        return False
    columns = list(zip(*body, strict=True))
    if any(map(is_number, first)):
        return _are_numeric_names(first, columns)
    if any(any(map(is_number, column)) for column in columns):
        return True
    return all(name not in column for name, column in zip(first, columns, strict=False))


def _are_numeric_names(first: Sequence[str], columns: Sequence[Sequence[str]]) -> bool | None:
    """Return whether a first row with numbers is a header, such as 0, 1, 2 above an array, or years."""
    if not columns or any(cell and cell.lower() in MISSING_TEXTS for cell in first):
        return False
    numbers = [index for index, cell in enumerate(first) if is_number(cell)]
    texts = [index for index, cell in enumerate(first) if index not in numbers and cell.lower() not in MISSING_TEXTS]
    if any(first[index][0].isalpha() and _has_only_numbers(columns[index]) for index in texts):
        return True
    names = [first[index] for index in numbers]
    integer_names = [cell.removesuffix(".0") for cell in names]
    from_zero = integer_names == list(map(str, range(len(integer_names))))
    if any(first[index] in columns[index] for index in texts):
        return False
    if from_zero and not first[0] and numbers[0] == 1 and _is_row_name_column(columns[0]):
        return True
    if from_zero and len(first) == 1:  # a pandas series, or a curve that starts at 0
        return None if len(columns[0]) >= MIN_ROWS and all(map(_FRACTION.search, columns[0])) else False
    if names != integer_names:
        return None if from_zero and len(numbers) > 2 else False
    if not _is_arithmetic_sequence(integer_names):
        return False
    # 0, 1, 2, ... as written by pandas is rarely a data row, so integers below may coincide with it.
    if not from_zero and any(first[index] in columns[index] for index in numbers):
        return False
    if len(numbers) > 1 and texts and all(len(set(columns[index])) < len(columns[index]) for index in texts):
        return True
    if any(first[index] in columns[index] for index in numbers):
        return None if len(numbers) > 2 else False
    are_years = int(first[numbers[0]]) in YEAR_RANGE
    values = [cell for index in numbers for cell in columns[index] if cell.lower() not in MISSING_TEXTS]
    if (are_years or len(numbers) > 2) and len(values) >= MIN_ROWS and all(map(_FRACTION.search, values)):
        return True
    return None if len(numbers) > 1 and (are_years or first[numbers[0]] in ("0", "1")) else False


def _has_only_numbers(cells: Sequence[str]) -> bool:
    values = [cell for cell in cells if cell.lower() not in MISSING_TEXTS]
    return bool(values) and all(map(is_number, values))


def is_row_number_column(cells: Sequence[str]) -> bool:
    """Return whether a column holds distinct integers in two or more rows."""
    return len(cells) > 1 and len(set(cells)) == len(cells) and all(map(_INTEGER.fullmatch, cells))


def _is_row_name_column(cells: Sequence[str]) -> bool:
    """Return whether a column holds distinct texts, such as dates, or ascending integers.

    Integers must be consecutive unless there are enough rows to accept removed ones.
    """
    if not is_row_number_column(cells):
        return len(set(cells)) == len(cells) > 1 and "" not in cells and not any(map(is_number, cells))
    steps = [int(second) - int(first) for first, second in pairwise(cells)]
    return min(steps) > 0 and (max(steps) == 1 or len(cells) >= MIN_ROWS)


def _is_arithmetic_sequence(cells: Sequence[str]) -> bool:
    """Return whether integers ascend by equal steps or are ascending years; a single one must be a year."""
    if not all(map(_INTEGER.fullmatch, cells)):
        return False
    values = list(map(int, cells))
    steps = {second - first for first, second in pairwise(values)}
    are_years = all(value in YEAR_RANGE for value in values)
    if len(values) == 1 or (are_years and all(step > 0 for step in steps)):
        return are_years
    return len(steps) == 1 and min(steps) > 0
