"""Encoding of other tables, in chunks, by the schema of a training table."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.encoding import cell_messages, column_encoding, table_schema, targets
from trainer.data.encoding.feature_encoder import FeatureEncoder
from trainer.data.encoding.table_schema import Schema
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

    Columns are matched as in ``FeatureEncoder``.

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
        self._features = FeatureEncoder(schema, cell_format, skipped)
        self._target_position: int | None = None

    def encode(self, table: Table) -> EncodedRows | None:
        """Encode a chunk; None once a row has been refused, of which ``finish`` raises the error.

        Args:
            table: Chunk with the columns of the first one.

        Raises:
            DataError: Columns are missing.
        """
        self._features.start_chunk(table)
        target = self._encode_target(table) if self._with_targets else None
        encoded = self._features.encode_readable_rows()
        if encoded is None:
            return None
        rows = encoded.rows
        return EncodedRows(
            torch.from_numpy(encoded.x), None if target is None else target[torch.from_numpy(rows)], rows
        )

    def finish(self, *advice: str) -> None:
        """Raise the errors of all chunks, or log their warnings.

        Args:
            advice: Last lines of the error.

        Raises:
            DataError: Cells cannot be read.
        """
        self._features.finish(*advice)

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
        if self._target_position is None:
            self._target_position = self._find_target(table)
        schema, index = self._schema["target"], self._target_position
        cell_format, problems = self._cell_format, self._features.problems
        values = targets.parse_stored(table, index, cell_format, schema)
        if schema["kind"] == "class":
            locate = partial(
                cell_messages.locate_unknown_class,
                table,
                index=index,
                cell_format=cell_format,
                classes=schema["classes"],
            )
            problems.add_bad_cells(index, values < 0, locate)
            return torch.from_numpy(values)
        problems.add_bad_cells(index, ~np.isfinite(values))
        problems.add_outliers(index, column_encoding.outlier_mask(schema, values))
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
