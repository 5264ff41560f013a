"""Tables of region time series, one row per step and one column per region."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError
from typing import Literal

import numpy as np

from trainer.data.encoding import series, series_gaps
from trainer.data.encoding.cell_messages import join_problems
from trainer.data.readers import delimited, text_file
from trainer.data.readers.cell_parsing import CellFormat, is_too_large
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import join_names

log = logging.getLogger(__name__)
FILE_EXTENSIONS = (".csv", ".tsv", ".npy")
READ_ERRORS = (ValueError, TypeError, EOFError, OverflowError, MemoryError, RecursionError, SyntaxError, TokenError)
"""Errors of numpy for an invalid array file, whose header is parsed as a Python literal."""
MAX_PROBLEMS = 6
"""Maximum number of problems listed in one error."""
MISSING_VALUE_HINT = "missing values are not supported: fill them in the file, or exclude their regions by data.columns"


@dataclass(frozen=True)
class RegionTable:
    """Time series of regions.

    Args:
        path: File of the table.
        values: Finite numbers, (T, N).
        names: Names of the regions, if the file has them.
    """

    path: Path
    values: np.ndarray
    names: list[str] | None

    def reorder_like(self, other: RegionTable, option: str) -> RegionTable:
        """Reorder regions as in another table.

        Args:
            other: Table whose order of regions is used.
            option: Option named in the error message.

        Raises:
            DataError: The regions differ.
        """
        num_regions, num_other_regions = self.values.shape[1], other.values.shape[1]
        if num_regions != num_other_regions:
            raise DataError(f"{option}: {self.path} has {num_regions} regions; {other.path} has {num_other_regions}")
        if self.names is None or other.names is None:
            return self
        unknown = [name for name in self.names if name not in other.names]
        if unknown:
            raise DataError(f"{option}: {self.path} has regions that are not in {other.path}: {join_names(unknown)}")
        order = [self.names.index(name) for name in other.names]
        return replace(self, values=self.values[:, order], names=other.names)

    def select_regions(self, names: Sequence[str] | None, count: int, option: str) -> RegionTable:
        """Return the regions of a saved run, in its order; further ones are logged.

        Args:
            names: Names of the regions; None for regions without names.
            count: Number of regions.
            option: Option named in error messages.

        Raises:
            DataError: Regions are missing, or the numbers of regions without names differ.
        """
        if len(self.values) < 2:
            raise DataError(f"{option}: {self.path} has 1 step; correlations need at least 2")
        width = self.values.shape[1]
        if names is None or self.names is None:
            if width != count:
                raise DataError(f"{option}: {self.path} has {width} regions; this run was trained on {count}")
            return self
        missing = [name for name in names if name not in self.names]
        if missing:
            suggestion = did_you_mean(missing[0], self.names)
            raise DataError(f"{option}: {self.path} lacks regions of this run: {join_names(missing)}{suggestion}")
        unknown = [name for name in self.names if name not in names]
        if unknown:
            log.warning("%s: regions that this run does not have are ignored: %s", self.path, join_names(unknown))
        order = [self.names.index(name) for name in names]
        return replace(self, values=self.values[:, order], names=list(names))


@dataclass(frozen=True)
class RegionTableFormat:
    """Format of region tables in text files.

    Args:
        delimiter: Delimiter or its name; None to detect it.
        header: Whether the first row is a header.
        encoding: Text encoding.
        cell_format: Format of the cells.
    """

    delimiter: str | None
    header: Literal["auto"] | bool
    encoding: str
    cell_format: CellFormat

    def read(self, path: Path, option: str, columns: Sequence[str | int] | None = None) -> RegionTable:
        """Read the regions of a file, or those in ``columns``, without an unnamed first column (an index).

        Args:
            path: File to read.
            option: Option named in error messages.
            columns: Names or numbers of the columns to read; None for all.

        Raises:
            DataError: The file is not a table of numbers; the message has file and, if applicable, row and column.
        """
        if path.suffix.lower() == ".npy":
            return _read_array(path, option, columns, self.cell_format)
        table = delimited.read(str(path), option, self.delimiter, self.header, self.encoding, columns or ())
        selected = series.choose_columns(table, columns, 0 if table.is_unnamed(0) and not columns else None)
        try:
            values = series.read_numeric_columns(table, selected, self.cell_format)
        except DataError as error:
            raise DataError(*_join_problems(error.problems)) from error
        problems = series_gaps.describe_missing_values(table, selected, None, values)
        if problems:
            raise DataError(*_join_problems(problems), MISSING_VALUE_HINT)
        return RegionTable(path, values, [table.names[place] for place in selected] if table.has_header else None)


def _join_problems(problems: Sequence[str]) -> list[str]:
    """Join the first problems, as hundreds of regions may have the same one."""
    return join_problems(problems, MAX_PROBLEMS, "lines like these")


def _read_array(path: Path, option: str, columns: Sequence[str | int] | None, cell_format: CellFormat) -> RegionTable:
    path = text_file.check_regular_file(path, option)
    try:
        with text_file.convert_os_errors(path, option), path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except READ_ERRORS as error:
        raise DataError(f"{option}: {path} is not an array of numbers: {error}") from error
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.size:
        raise DataError(f"{option}: {path} contains {array.dtype} {array.shape}; it must be numbers (steps, regions)")
    if columns is not None:
        valid_positions = range(-array.shape[1], array.shape[1])
        unknown = next((key for key in columns if key not in valid_positions), None)
        if unknown is not None:
            raise DataError(f"columns: no column {unknown!r} in {path}, which has 0 to {valid_positions[-1]}")
        array = array[:, np.array(columns, dtype=np.int64)]
    numbers = array.astype(np.float64)
    invalid = np.argwhere(is_too_large(numbers) | np.isin(numbers, list(cell_format.numeric_gaps)))
    if len(invalid):
        row, column = invalid[0]
        location = f"{path}: row {row + 1}, column {column}"
        raise DataError(
            f"{location}: {array[row, column]:.9g} is not a valid measurement; {len(invalid)} such values",
            MISSING_VALUE_HINT,
        )
    return RegionTable(path, numbers, None)
