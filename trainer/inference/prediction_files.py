"""Files of predictions: csv, parquet, jsonl and npz, written chunk by chunk and complete or not at all."""

from __future__ import annotations

import json
import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from trainer.core.prediction import to_plain_cells
from trainer.core.prediction_columns import Column
from trainer.inference.column_arrays import make_arrow_array, make_numpy_array, make_ragged_error
from trainer.utils import atomic_write, signals
from trainer.utils.csv_lines import make_csv_writer
from trainer.utils.errors import ConfigError, SystemFault
from trainer.utils.paths import describe_missing_path, is_read
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import escape_unencodable

DEFAULT_NAME = "predictions.csv"


class PredictionWriter(ABC):
    """Writer of a file of predictions.

    Args:
        path: File to write.
    """

    def __init__(self, path: Path):
        self.path = path

    def write(self, columns: Mapping[str, Column]) -> None:
        """Append rows.

        Args:
            columns: Cells (K, ...) of each column, by title; the same titles in every call.
        """
        self._append({escape_unencodable(name, "utf-8"): _escape_surrogates(cells) for name, cells in columns.items()})

    @abstractmethod
    def _append(self, columns: Mapping[str, Column]) -> None:
        """Append rows whose texts can be encoded."""

    @abstractmethod
    def close(self) -> None:
        """Finish the file."""

    @abstractmethod
    def abort(self) -> None:
        """Release the file, which will be removed."""


class CSVWriter(PredictionWriter):
    """Comma-separated text with a header: missing values are empty, cells of several values are JSON lists."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = make_csv_writer(self._file)
        self._has_header = False

    def _append(self, columns: Mapping[str, Column]) -> None:
        if not self._has_header:
            self._writer.writerow(columns)
            self._has_header = True
        self._writer.writerows(zip(*map(_format_cells, columns.values()), strict=True))

    def close(self) -> None:
        self._file.close()

    def abort(self) -> None:
        self._file.close()


class JSONLinesWriter(PredictionWriter):
    """One JSON object per row; NaN and infinity are null."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._file = path.open("w", encoding="utf-8")

    def _append(self, columns: Mapping[str, Column]) -> None:
        cells = [to_plain_cells(column) for column in columns.values()]
        for row in zip(*cells, strict=True):
            self._file.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()

    def abort(self) -> None:
        self._file.close()


class ParquetWriter(PredictionWriter):
    """Apache Parquet, one row group per chunk, whose types are those of the first chunk.

    Raises:
        ConfigError: pyarrow is not installed, or a column changes its type.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise ConfigError(
                "output: .parquet needs the package pyarrow; install it by: pip install 'train-zoo[parquet]'"
            ) from None
        self._writer: Any = None

    def _append(self, columns: Mapping[str, Column]) -> None:
        import pyarrow
        import pyarrow.parquet

        if self._writer is None:
            arrays = {name: make_arrow_array(name, column) for name, column in columns.items()}
            table = pyarrow.table(arrays)
            self._writer = pyarrow.parquet.ParquetWriter(self.path, table.schema)
        else:
            types = {field.name: field.type for field in self._writer.schema}
            arrays = {name: make_arrow_array(name, column, types[name]) for name, column in columns.items()}
            table = pyarrow.table(arrays, schema=self._writer.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def abort(self) -> None:
        self.close()


class NPZWriter(PredictionWriter):
    """Compressed NumPy arrays, one per column, without pickled objects; they are in memory until the end.

    A missing text is empty, a missing number is NaN.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self._chunks: dict[str, list[np.ndarray]] = {}

    def _append(self, columns: Mapping[str, Column]) -> None:
        for name, column in columns.items():
            self._chunks.setdefault(name, []).append(make_numpy_array(name, column))

    def close(self) -> None:
        # Not np.savez, of which an argument has the name of a column: file.
        with zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, chunks in self._chunks.items():
                if len({chunk.shape[1:] for chunk in chunks}) > 1:
                    raise make_ragged_error(name)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.concatenate(chunks), allow_pickle=False)

    def abort(self) -> None:
        self._chunks.clear()


WRITERS: Mapping[str, type[PredictionWriter]] = {
    ".csv": CSVWriter,
    ".parquet": ParquetWriter,
    ".jsonl": JSONLinesWriter,
    ".npz": NPZWriter,
}


def check_output(
    path: Path, run_dir: Path, inputs: Iterable[Path] = (), suffixes: Collection[str] = tuple(WRITERS)
) -> None:
    """Check that a file can be written; an existing one is replaced.

    Args:
        path: File to write.
        run_dir: Run directory, whose files are not replaced.
        inputs: Files and folders that are read, whose files are not replaced.
        suffixes: Suffixes of the formats.

    Raises:
        ConfigError: The suffix is unknown, the directory does not exist, or the file must not be replaced.
        SystemFault: The directory is not writable.
    """
    if path.suffix.lower() not in suffixes:
        suggestion = did_you_mean(path.suffix.lower(), suffixes)
        names = f"one of {', '.join(suffixes)}" if len(suffixes) > 1 else next(iter(suffixes))
        raise ConfigError(f"output: {str(path)!r} given; the suffix must be {names}{suggestion}")
    directory = path.absolute().parent
    if path.is_dir():
        raise ConfigError(f"output: {path.absolute()} is a directory")
    if not directory.is_dir():
        raise ConfigError(f"output: {describe_missing_path(directory)}")
    if any(is_read(path, source) for source in inputs):
        raise ConfigError(f"output: {path.absolute()} is a file that is read; give another name")
    if path.exists() and directory.samefile(run_dir):
        raise ConfigError(f"output: {path.absolute()} exists in the run directory; give another name")
    if not os.access(directory, os.W_OK):
        raise SystemFault(f"output: {directory} is not writable")


@contextmanager
def open_writer(path: Path) -> Iterator[PredictionWriter]:
    """Yield a writer of a file that exists only once the block has ended without an error.

    Args:
        path: File to write; its suffix chooses the format.

    Raises:
        SystemFault: The file cannot be written.
    """
    with atomic_write.replace_file(path) as temporary, signals.remove_on_stop(temporary):
        writer = WRITERS[path.suffix.lower()](temporary)
        try:
            yield writer
        except BaseException:
            with suppress(Exception):
                writer.abort()
            raise
        writer.close()


def _escape_surrogates(column: Column) -> Column:
    """Escape the bytes of file names that are not UTF-8, which no format can hold."""
    if isinstance(column, np.ndarray | range):
        return column
    try:
        "".join(cell for cell in column if isinstance(cell, str)).encode()
    except UnicodeEncodeError:
        return [escape_unencodable(cell, "utf-8") if isinstance(cell, str) else cell for cell in column]
    return column


def _format_cells(column: Column) -> Iterable[Any]:
    """Return cells as text; a float32 has the digits that identify it, not those of the nearest float64."""
    if isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype.kind == "f":
        texts: list[Any] = column.astype(str).tolist()
        for row in np.flatnonzero(np.isnan(column)).tolist():
            texts[row] = None
        return texts
    if isinstance(column, range):
        return column
    return [json.dumps(cell, ensure_ascii=False) if isinstance(cell, list) else cell for cell in to_plain_cells(column)]
