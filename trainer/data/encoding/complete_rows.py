"""Rows of a table without invalid cells, and messages about those that have some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.data.encoding import column_encoding
from trainer.data.encoding.cell_messages import describe_bad_cell, join_problems, warn_about_unparsed_cells
from trainer.data.encoding.targets import Target
from trainer.data.readers import text_file
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.table import Table
from trainer.utils.errors import DataError


def select_complete_rows(
    table: Table,
    values: Mapping[int, np.ndarray],
    cell_format: CellFormat,
    nan: str,
    target: Target | None,
    *,
    may_drop: bool = True,
    problems: Mapping[int, str] | None = None,
    is_stored: bool = False,
) -> np.ndarray:
    """Return the indices of the rows to use: all, or with ``nan=drop`` those without missing or non-numeric cells.

    Args:
        table: Table.
        values: Parsed cells of each feature column, by position.
        cell_format: Format of the cells.
        nan: Treatment of missing values: ``error``, ``drop`` or ``fill``.
        target: Target that every row must have.
        may_drop: Whether rows can be dropped; otherwise ``drop`` fills.
        problems: Other problems of columns, by position.
        is_stored: Whether the table is read for a saved run, which drops rows with an unknown target.

    Raises:
        DataError: All ``problems``, and file, row, column and count of invalid cells that are not dropped or filled.
    """
    if is_stored and target is not None:
        used = select_complete_rows(table, values, cell_format, nan, None, may_drop=may_drop)
        return used[target.known_mask[used]]
    is_valid = {
        index: np.isfinite(cells) if column_encoding.is_number(cells) else cells != ""
        for index, cells in values.items()
    }
    columns = _Columns(table, values, is_valid, cell_format, target)
    drops = nan == "drop" and may_drop
    all_problems, advice = dict(problems or {}), list[str]()
    if target is not None and not target.known_mask.all() and not drops:
        all_problems[target.column] = columns.describe_target(target)
        advice = columns.advise_on_target(target, may_drop=may_drop)
    numbers = columns.find_incomplete_numbers(all_problems)
    if nan == "error" and numbers:
        all_problems |= columns.describe_numbers(numbers)
        advice += columns.advise_on_numbers(numbers, may_drop=may_drop and not advice)
    advice += columns.advise_on_unusable(sorted(problems or {}))
    if all_problems:
        raise DataError(
            *join_problems([all_problems[index] for index in sorted(all_problems)]),
            *(["; ".join(advice)] if advice else []),
        )
    for index in numbers:
        warn_about_unparsed_cells(table, index, values[index], "the row is dropped" if drops else "the mean is imputed")
    return columns.find_complete_rows() if drops else np.arange(len(table))


@dataclass(frozen=True)
class _Columns:
    """Columns of a table with the validity of their cells.

    Args:
        table: Table.
        values: Parsed cells of each feature column, by position.
        is_valid: Whether each of these cells has a value.
        cell_format: Format of the cells.
        target: Target that every row must have.
    """

    table: Table
    values: Mapping[int, np.ndarray]
    is_valid: Mapping[int, np.ndarray]
    cell_format: CellFormat
    target: Target | None

    def describe_target(self, target: Target) -> str:
        return describe_bad_cell(self.table, target.column, target.known_mask, self.cell_format)

    def advise_on_target(self, target: Target, *, may_drop: bool) -> list[str]:
        """Return what to do about rows without a target."""
        advice = ["data.nan=drop drops these rows"] if may_drop else []
        cell = self.table.columns[target.column][int(np.argmin(target.known_mask))]
        if target.names and cell:
            advice += [f"remove {text_file.quote_cell(cell)} from data.missing to use it as a class"]
        return advice

    def find_incomplete_numbers(self, problems: Mapping[int, str]) -> list[int]:
        """Return the columns of numbers with invalid cells, without those that have other problems."""
        return [
            index
            for index, cells in self.values.items()
            if column_encoding.is_number(cells) and not self.is_valid[index].all() and index not in problems
        ]

    def describe_numbers(self, numbers: Sequence[int]) -> dict[int, str]:
        return {
            index: describe_bad_cell(self.table, index, self.is_valid[index], self.cell_format) for index in numbers
        }

    def advise_on_numbers(self, numbers: Sequence[int], *, may_drop: bool) -> list[str]:
        """Return what to do about invalid cells in columns of numbers."""
        advice = ["data.nan=drop drops these rows"] if may_drop else []
        advice += ["data.nan=fill imputes the mean and adds an indicator column"]
        with_text = [index for index in numbers if np.isinf(self.values[index]).any()]
        if with_text:
            advice += [f"data.categorical={self.table.column_keys(with_text)} reads numbers as categories"]
        return advice

    def advise_on_unusable(self, columns: Sequence[int]) -> list[str]:
        """Return what to do about columns with problems, if there are several."""
        unusable = [index for index in columns if index in self.values]
        if len(unusable) < 2:
            return []
        return [f"data.drop_columns={self.table.column_keys(unusable)} drops all {len(unusable)} unusable columns"]

    def find_complete_rows(self) -> np.ndarray:
        """Return the indices of the rows without invalid cells.

        Raises:
            DataError: There are none.
        """
        masks = [*self.is_valid.values(), *([] if self.target is None else [self.target.known_mask])]
        used = np.logical_and.reduce(masks)
        if not used.any():
            raise DataError(f"data.nan=drop leaves no row of {self.table.path}: every row has a missing value")
        return np.flatnonzero(used)
