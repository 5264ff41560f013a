"""Tables of text cells, with error messages that name file, row and column."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from trainer.data.readers import text_file
from trainer.data.readers.header_detection import is_row_number_column
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import join_names


@dataclass(frozen=True)
class Table:
    """Table of text cells, stripped of surrounding whitespace.

    Args:
        names: Column names from the header, or ``column 0``, ``column 1``, ...
        columns: Cells of each column.
        lines: Line of each row in its file, from 1; empty for rows that are not lines of a text.
        has_header: Whether the names are from a header.
        sources: Files of the table, each with its number of rows.
        numbers: Number of each row in its file, from 1, if the rows are only some of it; empty counts the rows.
    """

    names: list[str]
    columns: list[tuple[str, ...]]
    lines: Sequence[int]
    has_header: bool
    sources: tuple[tuple[Path, int], ...]
    numbers: Sequence[int] = ()

    @property
    def path(self) -> Path:
        return self.sources[0][0]

    def __len__(self) -> int:
        return len(self.columns[0])

    def describe_cell(self, row: int, column: int) -> str:
        """Return the location of a cell for messages; rows count from 1, without the header.

        Args:
            row: Row index, from 0.
            column: Column position, from 0.
        """
        return f"{self.describe_row(row)}, column {self.names[column]!r}"

    def describe_row(self, row: int) -> str:
        """Return the location of a row (index from 0) for messages, which count rows from 1, without the header."""
        path, _ = self._find_source(row)
        line = f" (line {self.lines[row]})" if self.lines else ""
        return f"{path}: row {self.get_row_number(row)}{line}"

    def get_row_number(self, row: int) -> int:
        """Return the number of a row (index from 0) in its file, from 1."""
        return self.numbers[row] if self.numbers else row - self._find_source(row)[1] + 1

    def _find_source(self, row: int) -> tuple[Path, int]:
        """Return the file of a row, and the index of the first row of this file."""
        starts = [0, *accumulate(rows for _, rows in self.sources)]
        index = bisect_right(starts, row) - 1
        return self.sources[index][0], starts[index]

    def find_column(self, key: str | int, option: str) -> int:
        """Return the position of a column given by name or by number, from 0 or from the end (-1 is the last).

        Args:
            key: Column name or number.
            option: Option named in the error message.

        Raises:
            DataError: Unknown column, with the nearest name and all names.
        """
        if str(key) in self.names:
            return self.names.index(str(key))
        if isinstance(key, int) and -len(self.names) <= key < len(self.names):
            return key % len(self.names)
        if isinstance(key, int):
            raise DataError(f"{option}: no column {key}; {self.path} has {len(self.names)}, 0 to {len(self.names) - 1}")
        if not self.has_header:
            first = join_names(column[0] for column in self.columns)
            raise DataError(
                f"{option}: no column {key!r}: {self.path} has no header (first row: {first}); give a number,"
                f" 0 to {len(self.names) - 1} or -1 for the last, or set data.header=true"
            )
        suggestion = did_you_mean(key, self.names)
        raise DataError(f"{option}: no column {key!r} in {self.path}{suggestion} (columns: {join_names(self.names)})")

    def column_keys(self, columns: Iterable[int]) -> str:
        """Format columns as a list for the command line."""
        return text_file.quote_for_shell(f"[{','.join(map(self._make_column_key, columns))}]")

    def column_key(self, column: int) -> str:
        """Format one column for the command line."""
        return text_file.quote_for_shell(self._make_column_key(column))

    def _make_column_key(self, column: int) -> str:
        """Return a key for ``find_column``; positions that equal the name of another column count from the end."""
        if self.has_header and not self.is_unnamed(column):
            return text_file.format_override_value(self.names[column])
        return str(column if str(column) not in self.names else column - len(self.names))

    def is_unnamed(self, column: int) -> bool:
        """Return whether the header has no name for a column, or the one that pandas generates."""
        return self.has_header and self.names[column] in (f"column {column}", f"Unnamed: {column}")

    def is_index_column(self, column: int) -> bool:
        """Return whether an unnamed column holds distinct integers, as the index written by pandas."""
        return self.is_unnamed(column) and is_row_number_column(self.columns[column])

    def append_rows(self, other: Table) -> Table:
        """Append the rows of another table, whose columns are matched by name where both have a header.

        Raises:
            DataError: Columns are missing.
        """
        by_name = self.has_header and other.has_header
        missing_names = [name for name in self.names if name not in other.names] if by_name else []
        if missing_names:
            raise DataError(f"{other.path} is missing columns of {self.path}: {join_names(missing_names)}")
        if not by_name and len(self.names) != len(other.names):
            raise DataError(f"{other.path} has {len(other.names)} columns, {self.path} has {len(self.names)}")
        indices = [other.names.index(name) if by_name else i for i, name in enumerate(self.names)]
        columns = [column + other.columns[index] for column, index in zip(self.columns, indices, strict=True)]
        sources = self.sources + other.sources
        return Table(self.names, columns, [*self.lines, *other.lines], self.has_header, sources)


class ColumnFinder:
    """Column lookup that collects all unknown columns into one error."""

    def __init__(self, table: Table):
        self._table = table
        self._problems: list[str] = []

    def __call__(self, key: str | int, option: str) -> int:
        """Return the position of a column; 0 for an unknown one."""
        try:
            return self._table.find_column(key, option)
        except DataError as error:
            self._problems += error.problems
            return 0

    def raise_missing(self) -> None:
        """Raise DataError if any column was unknown."""
        if self._problems:
            raise DataError(*self._problems)
