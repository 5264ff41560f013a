"""Checks for table columns that cannot be features."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from trainer.data.encoding.column_encoding import Column, category_coverage, is_number
from trainer.data.encoding.time_formats import find_format
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.table import Table
from trainer.data.readers.text_file import quote_cell

log = logging.getLogger(__name__)
FEW_VALUES = 20
"""Up to this many distinct numbers among texts may be codes."""
MIN_CATEGORY_COVERAGE = 0.1
"""Text columns whose categories cover a smaller fraction of rows hold identifiers or prose."""
MIN_NUMBER_FRACTION = 0.1
"""Fraction of numbers from which a mixed column is probably numeric."""


def warn_about_absent_codes(tables: Sequence[Table], cell_format: CellFormat) -> None:
    """Log the numeric codes of ``data.missing`` that occur in no cell.

    Args:
        tables: Tables of the data set.
        cell_format: Format of the cells.
    """
    unused = cell_format.absent_numeric_gaps(column for table in tables for column in table.columns)
    if unused:
        names = " or ".join(table.path.name for table in tables)
        log.warning("data.missing: no cell of %s is %s", names, ", ".join(unused))


def warn_about_mixed_decimals(table: Table, index: int, cell_format: CellFormat) -> None:
    """Log where decimals are probably thousands separators, as in 1.020 next to 980.

    Args:
        table: Table.
        index: Position of the column.
        cell_format: Format of the cells.
    """
    mixed = cell_format.find_mixed_decimals(table.columns[index])
    if mixed is not None:
        text = "%s: %s occurs together with %s and is read as %g; if its separator is for thousands, %s"
        row = table.columns[index].index(mixed[0])
        values = (
            quote_cell(mixed[0]),
            quote_cell(mixed[1]),
            cell_format.parse_number(mixed[0]),
            cell_format.describe_misplaced_separator(mixed[0]),
        )
        log.warning(text, table.describe_cell(row, index), *values)


def describe_unfit_column(
    table: Table, index: int, values: np.ndarray, cell_format: CellFormat, *, is_categorical: bool
) -> str | None:
    """Describe why a column, parsed as ``values``, cannot be a feature; None if it can.

    It is empty, an index, or would lose information: numbers in another format, numbers among texts, dates, codes that
    would be equal numbers.

    Args:
        table: Table.
        index: Position of the column.
        values: Parsed cells of the column, (N,).
        cell_format: Format of the cells.
        is_categorical: Whether the column is categorical regardless of its cells.
    """
    cells, key = table.columns[index], table.column_keys([index])
    label = f"{table.path}: column {table.names[index]!r}"
    if all(map(cell_format.is_gap, set(cells))):
        return f"{label} is empty; data.drop_columns={key} drops it"
    if table.is_index_column(index):
        return f"{label} is unnamed and holds row numbers; data.drop_columns={key} drops it"
    if is_categorical:
        return None
    texts = f"data.categorical={key} makes it categorical"
    if is_number(values):
        warn_about_mixed_decimals(table, index, cell_format)
        duplicates = cell_format.find_padded_duplicates(cells)
        if duplicates is not None:
            return f"{label} holds {duplicates[0]!r} and {duplicates[1]!r}, which would be the same number; {texts}"
        format_hint = cell_format.suggest_number_format(cells) if np.isinf(values).any() else None
        return None if format_hint is None else f"{label} holds {format_hint}"
    format_hint = cell_format.suggest_number_format(cells)
    if format_hint is not None:
        return f"{label} holds {format_hint}; {texts}"
    dates = [cell for cell in dict.fromkeys(cells) if not cell_format.is_gap(cell)]
    if find_format(dates) is not None:
        return f"{label} holds times such as {quote_cell(dates[0])}; {texts}, data.drop_columns={key} drops it"
    return _describe_mixed_column(label, cells, cell_format, f"{texts}, data.drop_columns={key} drops it")


def _describe_mixed_column(label: str, cells: Sequence[str], cell_format: CellFormat, advice: str) -> str | None:
    """Describe a text column with too many numbers to be codes; None for others."""
    numbers = cell_format.parse_numbers(cells)
    is_number_cell, is_text = np.isfinite(numbers), np.isinf(numbers)
    num_numbers, num_cells = int(is_number_cell.sum()), int(is_number_cell.sum() + is_text.sum())
    if (
        num_numbers < MIN_NUMBER_FRACTION * num_cells
        or len(np.unique(numbers[is_number_cell])) <= FEW_VALUES
        or cell_format.are_codes(cells)
    ):
        return None
    example = quote_cell(cells[int(np.argmax(is_text))])
    return f"{label} holds {num_numbers} numbers among {num_cells} cells, and texts such as {example}; {advice}"


def describe_free_text(table: Table, index: int, column: Column, values: np.ndarray) -> str | None:
    """Describe a text column whose values rarely repeat; None for others.

    Args:
        table: Table.
        index: Position of the column.
        column: Encoding of the column.
        values: Cells of the training rows, (N,).
    """
    if category_coverage(column, values) >= MIN_CATEGORY_COVERAGE:
        return None
    return (
        f"{table.path}: texts in {table.names[index]!r} rarely repeat, so they are not categories;"
        f" data.drop_columns={table.column_keys([index])} drops the column"
    )
