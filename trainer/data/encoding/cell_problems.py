"""Cells of a table that cannot be encoded as in training, collected over the chunks of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from trainer.data.encoding import cell_messages, column_encoding
from trainer.data.encoding.column_encoding import Column
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.skipped_rows import SkippedRows
from trainer.data.readers.table import Table
from trainer.utils.errors import DataError


@dataclass
class _Cells:
    """Cells of one column with the same problem: the description of the first one, and their number."""

    first: str
    count: int


class CellProblems:
    """Problems of the cells of a table, by column, collected over its chunks.

    Args:
        cell_format: Format of the cells.
        skipped: Collects the rows with a problem, which are left out; None refuses them.

    Attributes:
        is_readable: Rows (N,) of the current chunk without a problem so far.
    """

    def __init__(self, cell_format: CellFormat, skipped: SkippedRows | None = None):
        self.cell_format = cell_format
        self._skipped = skipped
        self._bad: dict[int, _Cells] = {}
        self._outliers: dict[int, _Cells] = {}
        self._unparsed: dict[int, _Cells] = {}
        self._has_bad_features = False

    @property
    def has_errors(self) -> bool:
        """Whether ``finish`` will raise an error, so that the remaining chunks are only checked."""
        return bool(self._bad or self._outliers)

    def start_chunk(self, table: Table, is_used: np.ndarray | None = None) -> None:
        """Begin to check another chunk.

        Args:
            table: The chunk.
            is_used: Rows (N,) to check; None for all.
        """
        self._table = table
        self._is_used = np.ones(len(table), dtype=bool) if is_used is None else is_used
        self.is_readable = self._is_used.copy()

    def check_numbers(self, column: Column, index: int, values: np.ndarray) -> None:
        """Check a feature column of numbers.

        Args:
            column: Encoding of the column.
            index: Position of the column in the table.
            values: Parsed cells (N,).
        """
        is_bad = np.zeros(len(values), dtype=bool) if column["gaps"] else ~np.isfinite(values)
        is_text = np.isinf(values) & self._is_used
        if column["gaps"] and is_text.any():
            first = cell_messages.locate_unparsed_cell(self._table, int(np.argmax(is_text)), index)
            self._unparsed.setdefault(index, _Cells(first, 0)).count += int(is_text.sum())
        is_outlier = column_encoding.outlier_mask(column, values)
        self.add_bad_cells(index, is_bad)
        self.add_outliers(index, is_outlier)
        self._has_bad_features |= bool(((is_bad | is_outlier) & self._is_used).any())

    def add_bad_cells(self, index: int, is_bad: np.ndarray, locate: Callable[[int], str] | None = None) -> None:
        """Add the cells of a column that cannot be read.

        Args:
            index: Position of the column in the table.
            is_bad: Whether each cell is one of them, (N,).
            locate: Function from a row index to the location of the cell and its problem; None says that it is not a
                number.
        """
        default = partial(cell_messages.locate_bad_cell, self._table, index=index, cell_format=self.cell_format)
        self._add(self._bad, index, is_bad & self._is_used, locate or default)

    def add_outliers(self, index: int, is_outlier: np.ndarray) -> None:
        """Add the cells of a column of numbers that are too far from the training rows.

        Args:
            index: Position of the column in the table.
            is_outlier: Whether each cell is one of them, (N,).
        """
        locate = partial(cell_messages.locate_outlier_cell, self._table, index=index)
        self._add(self._outliers, index, is_outlier & self._is_used, locate)

    def _add(self, cells: dict[int, _Cells], index: int, is_bad: np.ndarray, locate: Callable[[int], str]) -> None:
        if not is_bad.any():
            return
        if self._skipped is None:
            first = int(np.argmax(is_bad))
            cells.setdefault(index, _Cells(locate(first), 0)).count += int(is_bad.sum())
        else:
            for row in np.flatnonzero(is_bad & self.is_readable).tolist():
                self._skipped.add(self._table.get_row_number(row), locate(row))
        self.is_readable &= ~is_bad

    def finish(self, *advice: str) -> None:
        """Raise the errors of all chunks, or log their warnings.

        Args:
            advice: Last lines of the error.

        Raises:
            DataError: Cells cannot be read, or are too far from the training rows.
        """
        bad = {index: cell_messages.count_bad_cells(cells.first, cells.count) for index, cells in self._bad.items()}
        outliers = {
            index: cell_messages.count_outlier_cells(cells.first, cells.count)
            for index, cells in self._outliers.items()
        }
        problems = outliers | bad
        for index, cells in self._unparsed.items():
            if index not in problems:
                cell_messages.log_unparsed_cells(cells.first, cells.count, "the mean is imputed")
        if problems:
            ordered = cell_messages.join_problems([problems[index] for index in sorted(problems)])
            sign = "comma" if self.cell_format.has_decimal_comma else "point"
            hint = f"the training rows have a number in every such cell, with a decimal {sign}"
            hints = [hint] if self._has_bad_features else []
            raise DataError(*ordered, *hints, *advice)
