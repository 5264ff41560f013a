"""Messages about cells and columns of tables."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from trainer.data.encoding.standardization import MAX_STANDARDIZED_VALUE
from trainer.data.readers import text_file
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.table import Table
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import join_names

MAX_PROBLEMS = 20
"""Maximum number of columns listed in one error."""

log = logging.getLogger(__name__)


def warn_about_unparsed_cells(table: Table, index: int, values: np.ndarray, consequence: str) -> None:
    """Log the non-numeric, non-missing cells of a numeric column.

    Args:
        table: Table.
        index: Position of the column.
        values: Parsed cells of the column; infinity for a text.
        consequence: What happens to the rows.
    """
    texts = np.isinf(values)
    if texts.any():
        log_unparsed_cells(locate_unparsed_cell(table, int(np.argmax(texts)), index), int(texts.sum()), consequence)


def locate_unparsed_cell(table: Table, row: int, index: int) -> str:
    """Return the location of a cell that is not a number.

    Args:
        table: Table.
        row: Row index, from 0.
        index: Position of the column.
    """
    return f"{table.describe_cell(row, index)}: {text_file.quote_cell(table.columns[index][row])} is not a number"


def log_unparsed_cells(first: str, count: int, consequence: str) -> None:
    """Log the cells of a column that are not numbers.

    Args:
        first: The first cell, from ``locate_unparsed_cell``.
        count: Number of such cells.
        consequence: What happens to the rows.
    """
    log.warning("%s; %s (%d such cells)", first, consequence, count)


def join_problems(problems: Sequence[str], max_problems: int = MAX_PROBLEMS, noun: str = "columns") -> list[str]:
    """Return the first problems and a line with the number of omitted ones.

    Args:
        problems: One sentence each.
        max_problems: Maximum number of problems to return.
        noun: What the omitted problems are about, in the plural.
    """
    num_omitted = len(problems) - max_problems
    return [*problems[:max_problems], *([f"and {num_omitted} more {noun}"] if num_omitted > 0 else [])]


def describe_bad_cell(table: Table, index: int, is_valid: np.ndarray, cell_format: CellFormat) -> str:
    """Describe the first invalid cell of a column and the number of invalid cells.

    Args:
        table: Table.
        index: Position of the column.
        is_valid: Whether each cell is valid, (N,).
        cell_format: Format of the cells.
    """
    first = locate_bad_cell(table, int(np.argmin(is_valid)), index, cell_format)
    return count_bad_cells(first, int((~is_valid).sum()))


def locate_bad_cell(table: Table, row: int, index: int, cell_format: CellFormat) -> str:
    """Return the location of a cell and why it is not a number.

    Args:
        table: Table.
        row: Row index, from 0.
        index: Position of the column.
        cell_format: Format of the cells.
    """
    return f"{table.describe_cell(row, index)}: {cell_format.describe_non_number(table.columns[index][row])}"


def locate_unknown_class(table: Table, row: int, index: int, cell_format: CellFormat, classes: Sequence[str]) -> str:
    """Return the location of a target cell that is not a class of a saved run, and the nearest class.

    Args:
        table: Table.
        row: Row index, from 0.
        index: Position of the column.
        cell_format: Format of the cells.
        classes: Names of the classes.
    """
    cell = table.columns[index][row]
    if cell_format.is_gap(cell):
        return locate_bad_cell(table, row, index, cell_format)
    problem = f"{text_file.quote_cell(cell)} is not a class of this run{did_you_mean(cell, classes)}"
    return f"{table.describe_cell(row, index)}: {problem} (classes: {join_names(classes, 10)})"


def count_bad_cells(first: str, count: int) -> str:
    """Describe the invalid cells of a column.

    Args:
        first: The first cell, from ``locate_bad_cell``.
        count: Number of such cells.
    """
    return f"{first}; {count} such cell{'s' * (count > 1)} in the column"


def describe_outlier_cell(table: Table, index: int, is_outlier: np.ndarray) -> str:
    """Describe the first outlier of a column relative to the training rows.

    Args:
        table: Table.
        index: Position of the column.
        is_outlier: Whether each cell is an outlier, (N,).
    """
    first = locate_outlier_cell(table, int(np.argmax(is_outlier)), index)
    return count_outlier_cells(first, int(is_outlier.sum()))


def locate_outlier_cell(table: Table, row: int, index: int) -> str:
    """Return the location of an outlier and how far it is from the training rows.

    Args:
        table: Table.
        row: Row index, from 0.
        index: Position of the column.
    """
    cell = text_file.quote_cell(table.columns[index][row])
    return (
        f"{table.describe_cell(row, index)}: {cell} is more than {MAX_STANDARDIZED_VALUE:g} standard deviations from"
        " the mean of the training rows"
    )


def count_outlier_cells(first: str, count: int) -> str:
    """Describe the outliers of a column.

    Args:
        first: The first cell, from ``locate_outlier_cell``.
        count: Number of such cells.
    """
    plural = "s" * (count > 1)
    return f"{first}, {count} such cell{plural}; if it encodes a missing value, add it to data.missing"
