"""Rows of numbers in memory, standardized as in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.core.split import TensorSplit
from trainer.data.encoding import row_encoder, row_objects
from trainer.data.encoding.table_schema import Schema
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.header_detection import MISSING_TEXTS


def make_schema(mean: Sequence[float], std: Sequence[float], names: Sequence[str] = ()) -> Schema:
    """Return the schema of a table of numbers.

    Args:
        mean: Mean of each column; 0 for numbers that are not standardized.
        std: Standard deviation of each column; 1 for numbers that are not standardized.
        names: Names of the columns; without names they are matched by order.
    """
    all_names = list(names) or [f"column {index}" for index in range(len(mean))]
    columns = [
        {"index": index, "name": name, "kind": "number", "mean": mean[index], "std": std[index], "gaps": False}
        for index, name in enumerate(all_names)
    ]
    return {"names": all_names, "header": bool(names), "columns": columns}


def encode(rows: Any, schema: Schema) -> TensorSplit:
    """Encode rows in memory.

    Args:
        rows: Data frame, dict of columns, list of dicts, or array (N, F); see ``row_objects.make_table``.
        schema: Schema from ``make_schema``.

    Raises:
        DataError: They are of another kind, columns are missing, or cells are not numbers.
    """
    cell_format = CellFormat(frozenset(MISSING_TEXTS))
    return TensorSplit(
        {"x": row_encoder.encode_table(row_objects.make_table(rows, schema, cell_format), schema, cell_format)}
    )
