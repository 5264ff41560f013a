"""Files of predictions: csv, parquet, jsonl and npz, written chunk by chunk and complete or not at all."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from trainer.core.prediction import Column, to_plain_cells
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError
from trainer.utils.paths import describe_missing_path
from trainer.utils.suggest import did_you_mean

DEFAULT_NAME = "predictions.csv"


class PredictionWriter(ABC):
    """Writer of a file of predictions.

    Args:
        path: File to write.
    """

    def __init__(self, path: Path):
        self.path = path

    @abstractmethod
    def write(self, columns: Mapping[str, Column]) -> None:
        """Append rows.

        Args:
            columns: Cells (K, ...) of each column, by title; the same titles in every call.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish the file."""


class CSVWriter(PredictionWriter):
    """Comma-separated text with a header; cells of several values are JSON lists."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._has_header = False

    def write(self, columns: Mapping[str, Column]) -> None:
        if not self._has_header:
            self._writer.writerow(columns)
            self._has_header = True
        self._writer.writerows(zip(*map(_format_cells, columns.values()), strict=True))

    def close(self) -> None:
        self._file.close()


class JSONLinesWriter(PredictionWriter):
    """One JSON object per row; NaN and infinity are null."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._file = path.open("w", encoding="utf-8")

    def write(self, columns: Mapping[str, Column]) -> None:
        cells = [to_plain_cells(column) for column in columns.values()]
        for row in zip(*cells, strict=True):
            self._file.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


class ParquetWriter(PredictionWriter):
    """Apache Parquet, one row group per chunk.

    Raises:
        ConfigError: pyarrow is not installed.
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

    def write(self, columns: Mapping[str, Column]) -> None:
        import pyarrow
        import pyarrow.parquet

        arrays = {
            name: column.tolist() if isinstance(column, np.ndarray) and column.ndim > 1 else column
            for name, column in columns.items()
        }
        if self._writer is None:
            table = pyarrow.table(arrays)
            self._writer = pyarrow.parquet.ParquetWriter(self.path, table.schema)
        else:
            table = pyarrow.table(arrays, schema=self._writer.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class NPZWriter(PredictionWriter):
    """Compressed NumPy arrays, one per column, without pickled objects."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._chunks: list[Mapping[str, Column]] = []

    def write(self, columns: Mapping[str, Column]) -> None:
        self._chunks.append(columns)

    def close(self) -> None:
        arrays: dict[str, Any] = {}
        for name in self._chunks[0] if self._chunks else ():
            try:
                arrays[name] = np.concatenate([np.asarray(_to_array(chunk[name])) for chunk in self._chunks])
            except ValueError:
                raise ConfigError(
                    f"output: cells of {name!r} differ in length, which .npz cannot hold; use .jsonl or .parquet"
                ) from None
        with self.path.open("wb") as file:
            np.savez_compressed(file, **arrays)


WRITERS: Mapping[str, type[PredictionWriter]] = {
    ".csv": CSVWriter,
    ".parquet": ParquetWriter,
    ".jsonl": JSONLinesWriter,
    ".npz": NPZWriter,
}


def check_output(path: Path) -> None:
    """Check that predictions can be written to a path.

    Raises:
        ConfigError: The suffix is unknown, or the directory does not exist.
    """
    if path.suffix.lower() not in WRITERS:
        suggestion = did_you_mean(path.suffix.lower(), WRITERS)
        raise ConfigError(f"output: {str(path)!r} given; the suffix must be one of {', '.join(WRITERS)}{suggestion}")
    if path.is_dir():
        raise ConfigError(f"output: {path.absolute()} is a directory")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"output: {describe_missing_path(path.absolute().parent)}")


@contextmanager
def open_writer(path: Path) -> Iterator[PredictionWriter]:
    """Yield a writer of a file that exists only once the block has ended without an error.

    Args:
        path: File to write; its suffix chooses the format.

    Raises:
        SystemFault: The file cannot be written.
    """
    with atomic_write.replace_file(path) as temporary:
        with atomic_write.catch_write_errors(path):
            writer = WRITERS[path.suffix.lower()](temporary)
        with closing(writer):
            yield writer


def _format_cells(column: Column) -> list[Any]:
    """Return cells as text; a float32 has the digits that identify it, not those of the nearest float64."""
    if isinstance(column, np.ndarray) and column.ndim == 1:
        return column.astype(str).tolist() if column.dtype.kind == "f" else column.tolist()
    return [json.dumps(cell, ensure_ascii=False) if isinstance(cell, list) else cell for cell in to_plain_cells(column)]


def _to_array(column: Column) -> np.ndarray:
    if isinstance(column, np.ndarray):
        return column
    is_text = any(isinstance(cell, str) for cell in column)
    return np.array([str(cell) for cell in column]) if is_text else np.array(list(column))
