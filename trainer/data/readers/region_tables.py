"""Tables of the user's, a row a step and a column a region, that must be of the same regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError
from typing import Literal

import numpy as np

from trainer.data.encoding import series
from trainer.data.readers import delimited, text_file
from trainer.data.readers.cell_parsing import CellFormat, is_too_large
from trainer.utils.errors import ConfigError

FILE_EXTENSIONS = (".csv", ".tsv", ".npy")
READ_ERRORS = (ValueError, TypeError, EOFError, OverflowError, MemoryError, RecursionError, SyntaxError, TokenError)
"""What numpy raises of a file that is no array: its header is parsed as Python's own literals."""
MAX_PROBLEMS = 6
"""How many of them one error lists."""
MISSING_VALUE_HINT = "no cell may lack a number: fill it in the file, or leave its region out by data.columns"


@dataclass(frozen=True)
class RegionTable:
    """Numbers (T, N), all finite, of N regions, which have names if the file says them."""

    path: Path
    values: np.ndarray
    names: list[str] | None

    def reorder_like(self, other: RegionTable, option: str) -> RegionTable:
        """The same with regions in the order of another's. Raises ConfigError, naming ``option``, for other ones."""
        mine, theirs = self.values.shape[1], other.values.shape[1]
        if mine != theirs:
            raise ConfigError(f"{option}: {self.path} has {mine} regions; {other.path} has {theirs}")
        if self.names is None or other.names is None:
            return self
        strange = [name for name in self.names if name not in other.names]
        if strange:
            raise ConfigError(
                f"{option}: {self.path} has regions that {other.path} has not: {text_file.join_names(strange)}"
            )
        order = [self.names.index(name) for name in other.names]
        return replace(self, values=self.values[:, order], names=other.names)


@dataclass(frozen=True)
class RegionTableFormat:
    """How text files are read."""

    delimiter: str | None
    header: Literal["auto"] | bool
    encoding: str
    reading: CellFormat

    def read(self, path: Path, option: str, columns: Sequence[str | int] | None = None) -> RegionTable:
        """The regions in a file, or those of ``columns``; a first column without a name, an index, is not one.

        Raises ConfigError, with the file and, where there is one, row and column, for what is no table of numbers.
        """
        if path.suffix.lower() == ".npy":
            return _read_array(path, option, columns, self.reading)
        table = delimited.read(str(path), option, self.delimiter, self.header, self.encoding, columns or ())
        chosen = series.choose_columns(table, columns, 0 if table.is_unnamed(0) and not columns else None)
        try:
            values = series.read_numeric_columns(table, chosen, self.reading)
        except ConfigError as error:
            raise _join_problems(error.problems) from error
        problems = series.describe_missing_values(table, chosen, None, values)
        if problems:
            raise ConfigError(*_join_problems(problems).problems, MISSING_VALUE_HINT)
        return RegionTable(path, values, [table.names[place] for place in chosen] if table.has_header else None)


def _join_problems(problems: Sequence[str]) -> ConfigError:
    """Of hundreds of regions that may be wrong alike, the first few."""
    more = len(problems) - MAX_PROBLEMS
    return ConfigError(*problems[:MAX_PROBLEMS], *([f"and {more} more lines like these"] if more > 0 else []))


def _read_array(path: Path, option: str, columns: Sequence[str | int] | None, reading: CellFormat) -> RegionTable:
    path = text_file.check_regular_file(path, option)
    try:
        with text_file.convert_os_errors(path, option), path.open("rb") as file:
            found = np.lib.format.read_array(file, allow_pickle=False)
    except READ_ERRORS as error:
        raise ConfigError(f"{option}: {path} is no array of numbers: {error}") from error
    if found.ndim != 2 or found.dtype.kind not in "fiu" or not found.size:
        raise ConfigError(f"{option}: {path} holds {found.dtype} {found.shape}; it must be numbers (steps, regions)")
    if columns is not None:
        places = range(-found.shape[1], found.shape[1])
        wrong = next((key for key in columns if key not in places), None)
        if wrong is not None:
            raise ConfigError(f"data.columns: no column {wrong!r} in {path}, which has 0 to {places[-1]}")
        found = found[:, np.array(columns, dtype=np.int64)]
    numbers = found.astype(np.float64)
    bad = np.argwhere(is_too_large(numbers) | np.isin(numbers, list(reading.numeric_gaps)))
    if len(bad):
        row, column = bad[0]
        place = f"{path}: row {row + 1}, column {column}"
        raise ConfigError(
            f"{place}: {found[row, column]:.9g} is no measured number; {len(bad)} such in all", MISSING_VALUE_HINT
        )
    return RegionTable(path, numbers, None)
