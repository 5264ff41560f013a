"""Encoding of the feature columns of other tables, in chunks, by the schema of a training table."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trainer.data.encoding import column_encoding
from trainer.data.encoding.cell_problems import CellProblems
from trainer.data.encoding.column_encoding import Column
from trainer.data.encoding.unseen_categories import UnseenCategories
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.skipped_rows import SkippedRows
from trainer.data.readers.table import Table
from trainer.utils.errors import DataError
from trainer.utils.suggest import find_nearest
from trainer.utils.text import join_names

log = logging.getLogger(__name__)


class EncodedFeatures(NamedTuple):
    """Encoded features of a chunk.

    Attributes:
        x: Features (N, F) float32.
        rows: Index (N,) of each row in the chunk.
    """

    x: np.ndarray
    rows: np.ndarray


class FeatureEncoder:
    """Encoder of the chunks of a table, whose messages are those of a table that is read at once.

    Columns are matched by name or by order; extra columns and unseen categories are logged.

    Args:
        schema: Schema of the training table.
        cell_format: Format of the cells.
        skipped: Collects the rows that cannot be encoded, which are left out; None refuses them.

    Attributes:
        problems: Cells that cannot be encoded; other columns of a chunk may add theirs before it is encoded.
    """

    def __init__(self, schema: Mapping[str, Any], cell_format: CellFormat, skipped: SkippedRows | None = None):
        self.problems = CellProblems(cell_format, skipped)
        self._schema = schema
        self._cell_format = cell_format
        self._unseen = [UnseenCategories(column) for column in schema["columns"] if column["kind"] == "category"]
        self._positions: Sequence[int] = ()
        self._table: Table | None = None
        self._numbers: dict[int, np.ndarray] = {}

    def encode(self, table: Table) -> EncodedFeatures | None:
        """Encode a chunk; None once a row has been refused, of which ``finish`` raises the error.

        Args:
            table: Chunk with the columns of the first one.

        Raises:
            DataError: Columns are missing.
        """
        self.start_chunk(table)
        return self.encode_readable_rows()

    def start_chunk(self, table: Table) -> None:
        """Parse the numbers of a chunk and check them.

        Args:
            table: Chunk with the columns of the first one.

        Raises:
            DataError: Columns are missing.
        """
        if self._table is None:
            self._positions = find_feature_columns(self._schema, table)
        self._table = table
        self.problems.start_chunk(table)
        self._numbers = {
            index: self._cell_format.parse_numbers(table.columns[index])
            for column, index in self._feature_columns()
            if column["kind"] == "number"
        }
        for column, index in self._feature_columns():
            if index in self._numbers:
                self.problems.check_numbers(column, index, self._numbers[index])

    def encode_readable_rows(self) -> EncodedFeatures | None:
        """Encode the rows of the chunk that have no problem; None once a row has been refused."""
        if self.problems.has_errors:
            return None
        assert self._table is not None
        rows = np.flatnonzero(self.problems.is_readable)
        unseen = iter(self._unseen)
        parts = [
            column_encoding.encode(column, self._numbers[index][rows])
            if index in self._numbers
            else self._encode_category(column, self._table.columns[index], rows, next(unseen))
            for column, index in self._feature_columns()
        ]
        return EncodedFeatures(np.concatenate(parts, axis=1), rows)

    def finish(self, *advice: str) -> None:
        """Raise the errors of all chunks, or log their warnings.

        Args:
            advice: Last lines of the error.

        Raises:
            DataError: Cells cannot be read.
        """
        self.problems.finish(*advice)
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


def find_feature_columns(schema: Mapping[str, Any], table: Table) -> Sequence[int]:
    """Return the position of each feature column: by name where both tables have a header, else by order.

    Args:
        schema: Schema of the training table.
        table: Table to read; columns that are not in the training table are logged.

    Raises:
        DataError: Columns are missing.
    """
    feature_columns = [column["name"] for column in schema["columns"]]
    if schema["header"] and table.has_header:
        missing = [name for name in feature_columns if name not in table.names]
        if missing:
            others = [name for name in table.names if name not in feature_columns]
            nearest = dict.fromkeys(found for name in missing if (found := find_nearest(name, others)))
            suggestion = f"; did you mean {join_names(nearest)}?" if nearest else ""
            raise DataError(
                f"{table.path} is missing columns of the training data: {join_names(missing)}{suggestion}"
                f" (its columns: {join_names(table.names)})"
            )
        unknown = [name for name in table.names if name not in schema["names"]]
        if unknown:
            log.warning(
                "%s: columns that are not in the training table are ignored: %s", table.path, join_names(unknown)
            )
        return [table.names.index(name) for name in feature_columns]
    if len(table.names) == len(schema["names"]):
        return [column["index"] for column in schema["columns"]]
    if len(table.names) == len(feature_columns):
        return range(len(feature_columns))
    raise DataError(
        f"{table.path} has {len(table.names)} columns; the training table has {len(schema['names'])},"
        f" of which {len(feature_columns)} are features: {join_names(feature_columns)}"
    )
