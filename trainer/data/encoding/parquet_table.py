"""Tables in Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.data.encoding import cell_objects, row_objects
from trainer.data.encoding.row_objects import Columns
from trainer.data.encoding.table_schema import Schema
from trainer.data.readers import delimited, text_file
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.table import Table
from trainer.utils.errors import DataError

SUFFIX = ".parquet"


def read_chunks(path: str, option: str, schema: Schema, cell_format: CellFormat) -> Iterator[Table]:
    """Yield the rows of a Parquet file as tables that fit in memory, with the cells that a CSV file would have.

    Args:
        path: File to read.
        option: Option named in error messages.
        schema: Schema of the training table.
        cell_format: Format of the cells.

    Raises:
        DataError: pyarrow is not installed, the file is not of this format, or it has no rows.
    """
    file_path = text_file.check_regular_file(path, option)
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise DataError(
            f"{option}: {SUFFIX} needs the package pyarrow; install it by: pip install 'train-zoo[parquet]'"
        ) from None
    first = 1
    try:
        with text_file.convert_os_errors(file_path, option), parquet.ParquetFile(file_path) as file:
            size = max(1, delimited.CHUNK_CELLS // max(1, file.metadata.num_columns))
            for batch in file.iter_batches(batch_size=size):
                yield _make_table(batch, file_path, first, schema, cell_format)
                first += len(batch)
    except ArrowException as error:
        raise DataError(f"{option}: {file_path.absolute()} is not a Parquet file: {error}") from error
    if first == 1:
        raise DataError(f"{option}: {file_path.absolute()} has no rows")


def _make_table(batch: Any, path: Path, first: int, schema: Schema, cell_format: CellFormat) -> Table:
    """Return the rows of a batch of pyarrow as a table.

    Args:
        batch: Record batch.
        path: File that it was read from.
        first: Number of its first row.
        schema: Schema of the training table.
        cell_format: Format of the cells.
    """
    names = list(map(str, batch.schema.names))
    columns = Columns(names, list(batch.columns), has_names=True)
    encodings = row_objects.match_encodings(columns, schema)
    cells = [
        cell_objects.format_column(
            row_objects.read_arrow_column(column), encodings[index], cell_format, f"{path}: column {name!r}"
        )
        if index in encodings
        else cell_objects.format_texts(column.to_pylist())
        for index, (name, column) in enumerate(zip(names, columns.values, strict=True))
    ]
    return Table(names, cells, (), True, ((path, len(batch)),), range(first, first + len(batch)))
