"""Encoding of other tables, in chunks, by the schema of a training table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.encoding import cell_messages, column_encoding, table_schema, targets
from trainer.data.encoding.cell_problems import CellProblems
from trainer.data.encoding.column_encoding import Column
from trainer.data.encoding.table_schema import Schema
from trainer.data.encoding.unseen_categories import UnseenCategories
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.skipped_rows import SkippedRows
from trainer.data.readers.table import Table
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import join_names


class EncodedRows(NamedTuple):
    """Encoded rows of a chunk.

    Attributes:
        x: Features (N, F) float32.
        target: Classes (N,) int64 or standardized numbers (N, 1) float32; None without targets.
        rows: Index (N,) of each row in the chunk.
    """

    x: Tensor
    target: Tensor | None
    rows: np.ndarray


class RowEncoder:
    """Encoder of the chunks of a table, whose messages are those of a table that is read at once.

    Columns are matched by name or by order; extra columns and unseen categories are logged.

    Args:
        schema: Schema of the training table.
        cell_format: Format of the cells.
        with_targets: Read the target column too.
        skipped: Collects the rows that cannot be encoded, which are left out; None refuses them.
    """

    def __init__(
        self,
        schema: Schema,
        cell_format: CellFormat,
        *,
        with_targets: bool = False,
        skipped: SkippedRows | None = None,
    ):
        self._schema = schema
        self._cell_format = cell_format
        self._with_targets = with_targets
        self._problems = CellProblems(cell_format, skipped)
        self._unseen = [UnseenCategories(column) for column in schema["columns"] if column["kind"] == "category"]
        self._positions: Sequence[int] = ()
        self._target_position = -1
        self._table: Table | None = None

    def encode(self, table: Table) -> EncodedRows | None:
        """Encode a chunk; None once a row has been refused, of which ``finish`` raises the error.

        Args:
            table: Chunk with the columns of the first one.

        Raises:
            DataError: Columns are missing.
        """
        if self._table is None:
            self._positions = table_schema.find_feature_columns(self._schema, table)
            self._target_position = self._find_target(table) if self._with_targets else -1
        self._table = table
        self._problems.start_chunk(table)
        numbers = {
            index: self._cell_format.parse_numbers(table.columns[index])
            for column, index in self._feature_columns()
            if column["kind"] == "number"
        }
        for column, index in self._feature_columns():
            if index in numbers:
                self._problems.check_numbers(column, index, numbers[index])
        target = self._encode_target(table) if self._with_targets else None
        if self._problems.has_errors:
            return None
        rows = np.flatnonzero(self._problems.is_readable)
        unseen = iter(self._unseen)
        parts = [
            column_encoding.encode(column, numbers[index][rows])
            if index in numbers
            else self._encode_category(column, table.columns[index], rows, next(unseen))
            for column, index in self._feature_columns()
        ]
        x = torch.from_numpy(np.concatenate(parts, axis=1))
        return EncodedRows(x, None if target is None else target[torch.from_numpy(rows)], rows)

    def finish(self, *advice: str) -> None:
        """Raise the errors of all chunks, or log their warnings.

        Args:
            advice: Last lines of the error.

        Raises:
            DataError: Cells cannot be read.
        """
        self._problems.finish(*advice)
        for unseen in self._unseen:
            if self._table is not None:
                unseen.log(self._table)

    def _feature_columns(self) -> Iterable[tuple[Column, int]]:
        """Return the encoding and the position of each feature column."""
        return zip(self._schema["columns"], self._positions, strict=True)

    def _encode_category(
        self, column: Column, cells: Sequence[str], rows: np.ndarray, unseen: UnseenCategories
    ) -> np.ndarray:
        """Encode a categorical column, looking up each distinct cell once."""
        text_by_cell = self._cell_format.parse_distinct_texts(cells)
        index_by_text = column_encoding.index_categories(column, text_by_cell.values())
        index_by_cell = {cell: index_by_text[text] for cell, text in text_by_cell.items()}
        index = np.fromiter(map(index_by_cell.__getitem__, cells), np.int64, len(cells))[rows]
        unseen.add(text_by_cell[cells[row]] for row in rows[index == len(column["categories"])].tolist())
        return column_encoding.encode_categories(column, index)

    def _find_target(self, table: Table) -> int:
        position = table_schema.find_target_column(self._schema, table)
        if position is not None:
            return position
        if "target" not in self._schema:
            raise DataError("input: the data of this run has no target column")
        name = self._schema["target"]["name"]
        if not (self._schema["header"] and table.has_header):
            raise DataError(f"input: {table.path} has {len(table.names)} columns, so it has no target column")
        suggestion = did_you_mean(name, table.names)
        columns = join_names(table.names)
        raise DataError(f"input: {table.path} has no target column {name!r}{suggestion} (columns: {columns})")

    def _encode_target(self, table: Table) -> Tensor:
        """Encode the target column; rows with an unknown class or without a number are added to the problems."""
        schema, index, cell_format = self._schema["target"], self._target_position, self._cell_format
        values = targets.parse_stored(table, index, cell_format, schema)
        if schema["kind"] == "class":
            locate = partial(
                cell_messages.locate_unknown_class,
                table,
                index=index,
                cell_format=cell_format,
                classes=schema["classes"],
            )
            self._problems.add_bad_cells(index, values < 0, locate)
            return torch.from_numpy(values)
        self._problems.add_bad_cells(index, ~np.isfinite(values))
        self._problems.add_outliers(index, column_encoding.outlier_mask(schema, values))
        return targets.standardize(values, schema["mean"], schema["std"])


def encode_table(table: Table, schema: Schema, cell_format: CellFormat) -> Tensor:
    """Encode all rows of a table as features (N, F) float32.

    Args:
        table: Table to encode.
        schema: Schema of the training table.
        cell_format: Format of the cells.

    Raises:
        DataError: Columns are missing, or cells are not numbers where all training rows have numbers.
    """
    encoder = RowEncoder(schema, cell_format)
    encoded = encoder.encode(table)
    encoder.finish()
    assert encoded is not None
    return encoded.x
