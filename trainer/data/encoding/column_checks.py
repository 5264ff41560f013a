"""Columns of a table that are unfit to be features as they stand, and why, in a sentence each."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from trainer.data.encoding.column_encoding import is_number
from trainer.data.encoding.time_formats import find_format
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.delimited import Table
from trainer.data.readers.text_file import quote_cell

log = logging.getLogger(__name__)
FEW_VALUES = 20
"""So many different numbers among texts may be codes."""
MIN_NUMBER_FRACTION = 0.1
"""The share of numbers among texts from which a column is probably one of numbers."""


def warn_about_absent_codes(tables: Sequence[Table], reading: CellFormat) -> None:
    """Says in the log which numbers are to be gaps and are nowhere."""
    absent = reading.absent_numeric_gaps(column for table in tables for column in table.columns)
    if absent:
        names = " or ".join(table.path.name for table in tables)
        log.warning("data.missing: no cell of %s is %s", names, ", ".join(absent))


def warn_about_mixed_decimals(table: Table, place: int, reading: CellFormat) -> None:
    """Says in the log where numbers with and without decimals are rather thousands, as in 1.020 beside 980."""
    found = reading.find_mixed_decimals(table.columns[place])
    if found is not None:
        text = "%s: %s stands beside %s and is read as %g; if its sign is between thousands, %s"
        row = table.columns[place].index(found[0])
        values = (
            quote_cell(found[0]),
            quote_cell(found[1]),
            reading.parse_number(found[0]),
            reading.describe_misplaced_separator(found[0]),
        )
        log.warning(text, table.describe_cell(row, place), *values)


def describe_unfit_column(
    table: Table, place: int, values: np.ndarray, reading: CellFormat, *, is_chosen: bool
) -> str | None:
    """Why a column, read as ``values``, is no feature; None if it is one.

    It is empty, an index, or loses what it says: numbers written by other signs, numbers among texts, dates, codes that
    would be one number. is_chosen: whether it is to be a category whatever it holds.
    """
    cells, key = table.columns[place], table.column_keys([place])
    named = f"{table.path}: column {table.names[place]!r}"
    if all(map(reading.is_gap, set(cells))):
        return f"{named} is empty; data.drop_columns={key} leaves it out"
    if table.is_index_column(place):
        return f"{named} has no name and numbers the rows; data.drop_columns={key} leaves it out"
    if is_chosen:
        return None
    texts = f"data.categorical={key} takes it for categories"
    if is_number(values):
        warn_about_mixed_decimals(table, place, reading)
        twins = reading.find_padded_duplicates(cells)
        if twins is not None:
            return f"{named} holds {twins[0]!r} and {twins[1]!r}, which would be one number; {texts}"
        signs = reading.suggest_number_format(cells) if np.isinf(values).any() else None
        return None if signs is None else f"{named} holds {signs}"
    signs = reading.suggest_number_format(cells)
    if signs is not None:
        return f"{named} holds {signs}; {texts}"
    dates = [cell for cell in dict.fromkeys(cells) if not reading.is_gap(cell)]
    if find_format(dates) is not None:
        return f"{named} holds times such as {quote_cell(dates[0])}; {texts}, data.drop_columns={key} leaves it out"
    return _describe_mixed_column(named, cells, reading, f"{texts}, data.drop_columns={key} leaves it out")


def _describe_mixed_column(named: str, cells: Sequence[str], reading: CellFormat, advice: str) -> str | None:
    """What is said of texts among which are so many numbers that they are no codes."""
    numbers = reading.parse_numbers(cells)
    found, texts = np.isfinite(numbers), np.isinf(numbers)
    count, total = int(found.sum()), int(found.sum() + texts.sum())
    if count < MIN_NUMBER_FRACTION * total or len(np.unique(numbers[found])) <= FEW_VALUES or reading.are_codes(cells):
        return None
    example = quote_cell(cells[int(np.argmax(texts))])
    return f"{named} holds {count} numbers among {total} cells, and texts such as {example}; {advice}"
