"""Rows in memory as tables: data frames, columns, records and arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainer.data.encoding import cell_objects
from trainer.data.encoding.column_encoding import Column
from trainer.data.encoding.table_schema import Schema
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.table import Table
from trainer.utils.errors import DataError

LABEL = "the input"
"""Subject of messages about rows in memory, which have no file."""
ACCEPTED_KINDS = "give a data frame, a dict of columns, a list of dicts, or an array (N, F) or a list of lists"


class Columns(NamedTuple):
    """Columns of rows in memory.

    Attributes:
        names: Name of each column; ``column 0``, ``column 1``, ... without names.
        values: Cells (N) of each column.
        has_names: Whether the names are those of the input.
    """

    names: list[str]
    values: list[Any]
    has_names: bool


def make_table(rows: Any, schema: Schema, cell_format: CellFormat) -> Table:
    """Convert rows in memory to a table of the text cells that a file would have; other columns are empty.

    Args:
        rows: Data frame (of pandas, polars or pyarrow), dict of columns, dict of one row, list of dicts, or cells
            (N, F) as an array or list of lists, in the order of the columns.
        schema: Schema of the training table.
        cell_format: Format of the cells.

    Raises:
        DataError: The rows are of another kind, or a cell is not a single value.
    """
    columns = collect_columns(rows)
    encodings = match_encodings(columns, schema)
    count = len(columns.values[0])
    cells = [
        cell_objects.format_column(values, encodings[index], cell_format, f"{LABEL}: column {name!r}")
        if index in encodings
        else ("",) * count
        for index, (name, values) in enumerate(zip(columns.names, columns.values, strict=True))
    ]
    return Table(columns.names, cells, (), columns.has_names, ((Path(LABEL), count),))


def collect_columns(rows: Any) -> Columns:
    """Return the columns of rows in memory.

    Args:
        rows: See ``make_table``.

    Raises:
        DataError: The rows are of another kind, there are none, or they differ in length.
    """
    if hasattr(rows, "column_names"):  # a table of pyarrow
        columns = Columns(list(map(str, rows.column_names)), list(map(read_arrow_column, rows.columns)), True)
    elif hasattr(rows, "columns"):
        columns = _read_frame(rows)
    elif isinstance(rows, Mapping):
        is_row = all(isinstance(value, str | int | float) or value is None for value in rows.values())
        columns = Columns(list(map(str, rows)), [[value] if is_row else value for value in rows.values()], True)
    elif isinstance(rows, Sequence) and rows and all(isinstance(row, Mapping) for row in rows):
        keys = list(dict.fromkeys(key for row in rows for key in row))
        columns = Columns(list(map(str, keys)), [[row.get(key) for row in rows] for key in keys], True)
    else:
        columns = _read_matrix(rows)
    if not columns.names or not len(columns.values[0]):
        raise DataError(f"{LABEL} has no rows")
    lengths = {len(values) for values in columns.values}
    if len(lengths) > 1:
        raise DataError(
            f"{LABEL}: the columns have {min(lengths)} to {max(lengths)} rows; all must have the same number"
        )
    _check_unique_names(columns.names)
    return columns


def _check_unique_names(names: Sequence[str]) -> None:
    duplicates = {name for name in names if names.count(name) > 1}
    if duplicates:
        raise DataError(f"{LABEL}: several columns are named {min(duplicates)!r}")


def _read_frame(frame: Any) -> Columns:
    labels = list(frame.columns)
    _check_unique_names(list(map(str, labels)))
    columns = (frame[label] for label in labels)
    values = [_read_series(column) for column in columns]
    has_names = not all(isinstance(label, int | np.integer) for label in labels)
    names = [str(label) if has_names else f"column {index}" for index, label in enumerate(labels)]
    return Columns(names, values, has_names)


def read_arrow_column(column: Any) -> Any:
    """Return a column of pyarrow as an array if it has a number type, or else as Python objects."""
    kind = str(column.type)
    is_number = kind in ("float", "double") or (kind.startswith(("int", "uint")) and not column.null_count)
    return column.to_numpy(zero_copy_only=False) if is_number else column.to_pylist()


def _read_series(series: Any) -> Any:
    """Return a column of a frame as an array if it has a number type, or else as Python objects."""
    array = series.to_numpy() if hasattr(series, "to_numpy") else None
    if isinstance(array, np.ndarray) and array.dtype.kind in cell_objects.NUMERIC_KINDS:
        return array
    return list(series)


def _read_matrix(rows: Any) -> Columns:
    """Return the columns of cells (N, F), or raise DataError for another kind of object."""
    if isinstance(rows, Sequence) and not isinstance(rows, str | bytes) and all(map(_is_row, rows)):
        widths = [len(row) for row in rows]
        row = next((row for row, width in enumerate(widths) if width != widths[0]), None)
        if row is not None:
            raise DataError(f"{LABEL}: row {row + 1} has {widths[row]} cells, the first has {widths[0]}")
        values: list[Any] = list(map(list, zip(*rows, strict=True)))
    elif hasattr(rows, "__array__") and np.ndim(rows) == 2:
        values = list(np.asarray(rows).T)
    else:
        shape = f" of shape {tuple(np.shape(rows))}" if hasattr(rows, "__array__") else ""
        raise DataError(f"{LABEL} is a {type(rows).__name__}{shape}; {ACCEPTED_KINDS}")
    return Columns([f"column {index}" for index in range(len(values))], values, False)


def _is_row(row: Any) -> bool:
    is_array = isinstance(row, np.ndarray) and row.ndim == 1
    return is_array or (isinstance(row, Sequence) and not isinstance(row, str | bytes))


def match_encodings(columns: Columns, schema: Schema) -> Mapping[int, Column]:
    """Return the encoding of each feature column by position, matched as ``feature_encoder.find_feature_columns`` does.

    Args:
        columns: Columns of the input.
        schema: Schema of the training table.
    """
    names, features = columns.names, schema["columns"]
    if columns.has_names and schema["header"]:
        return {names.index(column["name"]): column for column in features if column["name"] in names}
    if len(names) == len(schema["names"]):
        return {column["index"]: column for column in features}
    return dict(enumerate(features[: len(names)]))
