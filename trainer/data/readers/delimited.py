"""Delimited text files as columns of text, with error messages that name file, row and column."""

from __future__ import annotations

import csv
import io
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Literal

from trainer.core.preprocessing import RowKeys, make_content_keys
from trainer.data.readers import text_file
from trainer.data.readers.header_detection import SAMPLE_ROWS, has_column_names, is_row_number_column, looks_like_header
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import format_count, join_names

DELIMITERS = {"tab": "\t", "semicolon": ";", "bar": "|", "comma": ",", "space": " "}
"""Delimiters in the order of detection: a comma may also be a decimal sign, and a space also separates words."""
CELL_MARK = "\x1f"
"""Separator of cells in row keys."""
SEPARATOR_LINE = re.compile(r'\A"?sep=(.)"?[ \t]*(?=\r?\n)', re.IGNORECASE)
"""First line in which Excel declares the delimiter."""


@dataclass(frozen=True)
class Table:
    """Table of text cells, stripped of surrounding whitespace.

    Args:
        names: Column names from the header, or ``column 0``, ``column 1``, ...
        columns: Cells of each column.
        lines: Line of each row in its file, from 1.
        has_header: Whether the names are from a header.
        sources: Files of the table, each with its number of rows.
    """

    names: list[str]
    columns: list[tuple[str, ...]]
    lines: Sequence[int]
    has_header: bool
    sources: tuple[tuple[Path, int], ...]

    @property
    def path(self) -> Path:
        return self.sources[0][0]

    def __len__(self) -> int:
        return len(self.lines)

    def describe_cell(self, row: int, column: int) -> str:
        """Return the location of a cell for messages; rows count from 1, without the header.

        Args:
            row: Row index, from 0.
            column: Column position, from 0.
        """
        ends = list(accumulate(rows for _, rows in self.sources))
        index = bisect_right(ends, row)
        row_in_file = row - (ends[index - 1] if index else 0)
        path = self.sources[index][0]
        return f"{path}: row {row_in_file + 1} (line {self.lines[row]}), column {self.names[column]!r}"

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

    def row_keys(self, columns: Iterable[int], normalize: Callable[[str], str] = str) -> RowKeys:
        """Return a key for each row from the normalized cells of some columns.

        Args:
            columns: Positions of the columns.
            normalize: Function that maps equal cells to one spelling.
        """
        normalized = []
        for column in columns:
            normalized_cells = {cell: normalize(cell) for cell in set(self.columns[column])}
            normalized.append([normalized_cells[cell] for cell in self.columns[column]])
        return make_content_keys(map(CELL_MARK.join, zip(*normalized, strict=True)))

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


def read(
    path: str,
    option: str,
    delimiter: str | None,
    header: Literal["auto"] | bool,
    encoding: str,
    expected: Collection[str | int | None] = (),
) -> Table:
    """Read a table from a delimited text file.

    Args:
        path: File to read.
        option: Option named in error messages.
        delimiter: Delimiter or its name; None to detect it.
        header: Whether the first row is a header.
        encoding: Text encoding.
        expected: Columns that the caller will look up; a first row with one of them is a header.

    Raises:
        DataError: The file is missing, not a rectangular table of text, or ``header=auto`` is undecidable.
    """
    file_path = Path(path).expanduser()
    text = text_file.read(file_path, option, encoding, expected_content="a table of text")
    # The limit is global to the process; a cell cannot be longer than its file.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    separator = SEPARATOR_LINE.match(text)
    if separator:
        text = text[separator.end() :]  # keeps an empty line, so that line numbers stay correct
        delimiter = delimiter or separator[1]
    separator_char = detect_delimiter(text) if delimiter is None else DELIMITERS.get(delimiter, delimiter)
    if len(separator_char) != 1:
        delimiter_names = ", ".join(DELIMITERS)
        raise DataError(f"delimiter: {delimiter!r} given; it must be one character, or one of {delimiter_names}")
    rows, lines = _parse_rows(file_path, text, separator_char)
    if not rows:
        raise DataError(f"{option}: {file_path.absolute()} is empty")
    ragged = [i for i, row in enumerate(rows) if len(row) != len(rows[0])]
    if ragged:
        count_note = f"; {len(ragged)} such lines" if len(ragged) > 1 else ""
        raise DataError(
            f"{file_path}: line {lines[ragged[0]]} has {format_count(len(rows[ragged[0]]), 'cell')}, the first has"
            f" {len(rows[0])}{count_note} (delimiter {separator_char!r}; data.delimiter sets another)"
        )
    first = rows[0]
    has_header = _has_header(file_path, rows, option, expected) if header == "auto" else header
    if has_header:
        rows, lines = rows[1:], lines[1:]
        _check_unique_names(file_path, first)
    if not rows:
        raise DataError(f"{option}: {file_path.absolute()} has a header but no rows")
    names = [name if has_header and name else f"column {i}" for i, name in enumerate(first)]
    return Table(names, list(zip(*rows, strict=True)), lines, has_header, ((file_path, len(rows)),))


def detect_delimiter(text: str) -> str:
    """Return the first delimiter that splits the first rows into an equal number of cells greater than one."""
    sample = list(islice(io.StringIO(text, newline=""), SAMPLE_ROWS))
    for delimiter in DELIMITERS.values():
        widths = {len(row) for row in csv.reader(sample, delimiter=delimiter, skipinitialspace=True) if row}
        if len(widths) == 1 and max(widths) > 1:
            return delimiter
    return max(",;\t|", key="".join(sample).count)


def _has_header(path: Path, rows: Sequence[Sequence[str]], option: str, expected: Collection[str | int | None]) -> bool:
    """Return whether the first row is a header. Raises DataError if undecidable and an option can decide."""
    if has_column_names(rows[0], expected):
        return True
    is_header = looks_like_header(rows)
    if is_header is None and option != "input":
        raise DataError(
            f"{option}: the first row of {path} may be a header or numbers ({join_names(rows[0], 6)}); set"
            " data.header=true for a header, data.header=false for numbers"
        )
    return bool(is_header)


def _parse_rows(path: Path, text: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """Return the non-empty rows and the line on which each ends."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows, lines, start_line = [], [], 1
    try:
        for row in reader:
            start_line = reader.line_num + 1
            cells = list(map(str.strip, row))
            if any(cells):
                rows.append(cells)
                lines.append(reader.line_num)
    except csv.Error as error:
        if start_line < reader.line_num:
            raise DataError(f"{path}: line {start_line} cannot be read as CSV: unclosed quotation mark") from error
        raise DataError(f"{path}: line {reader.line_num} cannot be read as CSV: {error}") from error
    return rows, lines


def _check_unique_names(path: Path, names: Sequence[str]) -> None:
    positions_by_name = {name: [i for i, other in enumerate(names) if other == name] for name in names if name}
    problems = [
        f"{path}: {len(positions)} columns are named {name!r}"
        f" (columns {' and '.join(map(str, positions))}, counted from 0)"
        for name, positions in positions_by_name.items()
        if len(positions) > 1
    ]
    if problems:
        raise DataError(*problems)
