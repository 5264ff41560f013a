"""Messages about cells and columns of tables."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from trainer.data.encoding.standardization import MAX_STANDARDIZED_VALUE
from trainer.data.readers import text_file
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.delimited import Table

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
        row, count = int(np.argmax(texts)), int(texts.sum())
        cell = text_file.quote_cell(table.columns[index][row])
        log.warning(
            "%s: %s is not a number; %s (%d such cells)", table.describe_cell(row, index), cell, consequence, count
        )


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
    row, count = int(np.argmin(is_valid)), int((~is_valid).sum())
    reason = cell_format.describe_non_number(table.columns[index][row])
    return f"{table.describe_cell(row, index)}: {reason}; {count} such cell{'s' * (count > 1)} in the column"


def describe_outlier_cell(table: Table, index: int, is_outlier: np.ndarray) -> str:
    """Describe the first outlier of a column relative to the training rows.

    Args:
        table: Table.
        index: Position of the column.
        is_outlier: Whether each cell is an outlier, (N,).
    """
    row, count = int(np.argmax(is_outlier)), int(is_outlier.sum())
    cell = text_file.quote_cell(table.columns[index][row])
    return (
        f"{table.describe_cell(row, index)}: {cell} is more than {MAX_STANDARDIZED_VALUE:g} standard deviations from"
        f" the mean of the training rows, {count} such cell{'s' * (count > 1)}; if it encodes a missing value, add it"
        " to data.missing"
    )
