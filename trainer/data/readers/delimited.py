"""Delimited text files as tables of text cells, read whole or in chunks."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Literal, NamedTuple

from trainer.data.readers import text_file
from trainer.data.readers.header_detection import SAMPLE_ROWS, has_column_names, looks_like_header
from trainer.data.readers.skipped_rows import SkippedRows
from trainer.data.readers.table import Table
from trainer.data.readers.text_file import INPUT_OPTION
from trainer.utils.errors import DataError
from trainer.utils.text import format_count, join_names

DELIMITERS = {"tab": "\t", "semicolon": ";", "bar": "|", "comma": ",", "space": " "}
"""Delimiters in the order of detection: a comma may also be a decimal sign, and a space also separates words."""
SEPARATOR_LINE = re.compile(r'\A"?sep=(.)"?[ \t]*(?=\r?\n)', re.IGNORECASE)
"""First line in which Excel declares the delimiter."""
CHUNK_CELLS, CHUNK_CHARS = 1 << 19, 1 << 25
"""Maximum number of cells of a chunk, and of characters by the mean length of the first lines: below 150 MB."""
ROW_MULTIPLE = 1 << 12
"""Larger chunks have a multiple of this number of rows."""
MAX_CELL_CHARS = 1 << 25
"""Maximum length of a cell of a file that is read in chunks; without it an unclosed quote would fill the memory."""

BLOCK_ROWS = 256
"""Rows that are parsed before they are appended to columns."""

Row = tuple[int, list[str]]
"""Line on which a row ends, and its cells."""


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
    (table,) = read_chunks(path, option, delimiter, header, encoding, expected, is_whole=True)
    return table


def read_chunks(
    path: str,
    option: str,
    delimiter: str | None,
    header: Literal["auto"] | bool,
    encoding: str,
    expected: Collection[str | int | None] = (),
    skipped: SkippedRows | None = None,
    *,
    is_whole: bool = False,
) -> Iterator[Table]:
    """Yield the rows of a delimited text file as tables that fit in memory, with the same names.

    Args:
        path: File to read.
        option: Option named in error messages.
        delimiter: Delimiter or its name; None to detect it.
        header: Whether the first row is a header.
        encoding: Text encoding.
        expected: Columns that the caller will look up; a first row with one of them is a header.
        skipped: Collects the rows with another number of cells than the first, which are left out; None refuses them.
        is_whole: Yield all rows as one table.

    Raises:
        DataError: As for ``read``, perhaps after some tables.
    """
    file_path = Path(path).expanduser()
    lines = _iter_lines(file_path, option, encoding)
    sample = list(islice(lines, SAMPLE_ROWS))
    _raise_cell_limit(file_path, is_whole=is_whole)
    separator = _find_separator(sample, delimiter)
    rows = _parse_rows(file_path, chain(sample, lines), separator)
    head = list(islice(rows, SAMPLE_ROWS + 1))
    if not head:
        raise DataError(f"{option}: {file_path.absolute()} is empty")
    first = head[0][1]
    widths = _WidthCheck(file_path, len(first), separator, skipped, is_input=option == INPUT_OPTION)
    widths.refuse_others(head, rows)
    has_header = header
    if header == "auto":
        has_header = _has_header(file_path, [cells for _, cells in head if len(cells) == len(first)], option, expected)
    if has_header:
        _check_unique_names(file_path, first)
        head = head[1:]
    if not head:
        raise DataError(f"{option}: {file_path.absolute()} has a header but no rows")
    names = [name if has_header and name else f"column {i}" for i, name in enumerate(first)]
    rows, size = chain(head, rows), None if is_whole else _choose_chunk_rows(len(first), sample)
    first_number = 1
    while (chunk := _take_rows(rows, size, widths, first_number)).num_rows:
        first_number += chunk.num_rows
        if chunk.numbers:
            source = (file_path, len(chunk.numbers))
            yield Table(names, chunk.columns, chunk.lines, bool(has_header), (source,), chunk.numbers)


class _WidthCheck:
    """Check that rows have as many cells as the first one; others are refused or left out.

    Args:
        path: File of the rows.
        width: Number of cells of the first row.
        separator: Separator of cells, for messages.
        skipped: Collects the rows that are left out; None refuses them.
        is_input: Whether the file is read for a trained run, whose delimiter is fixed.
    """

    def __init__(self, path: Path, width: int, separator: str, skipped: SkippedRows | None, *, is_input: bool = False):
        self.width = width
        self._path, self._separator, self._skipped, self._is_input = path, separator, skipped, is_input

    def refuse_others(self, rows: Sequence[Row], following: Iterator[Row]) -> None:
        """Raise DataError for a row with another number of cells; the count is that of the whole file."""
        ragged = [] if self._skipped is not None else [row for row in rows if len(row[1]) != self.width]
        if ragged:
            count = len(ragged) + sum(len(cells) != self.width for _, cells in following)
            count_note = f"; {count} such lines" if count > 1 else ""
            hint = f" (delimiter {self._separator!r}{'' if self._is_input else '; data.delimiter sets another'})"
            raise DataError(f"{self._path}: {self._describe(ragged[0])}{count_note}{hint}")

    def skip_others(self, rows: Sequence[Row], numbers: Sequence[int]) -> tuple[Sequence[int], list[Row]]:
        """Return the rows with the right number of cells, and their numbers."""
        kept_numbers, kept = list[int](), list[Row]()
        for number, row in zip(numbers, rows, strict=True):
            if len(row[1]) == self.width:
                kept_numbers.append(number)
                kept.append(row)
            elif self._skipped is not None:
                self._skipped.add(number, f"{self._path}: row {number}: {self._describe(row)}")
        return kept_numbers, kept

    def _describe(self, row: Row) -> str:
        line, cells = row
        return f"line {line} has {format_count(len(cells), 'cell')}, the first has {self.width}"


class _Chunk(NamedTuple):
    """Rows of a chunk by column; ``num_rows`` includes the rows that were left out."""

    num_rows: int
    numbers: list[int]
    lines: list[int]
    columns: list[tuple[str, ...]]


def _take_rows(rows: Iterator[Row], size: int | None, widths: _WidthCheck, first_number: int) -> _Chunk:
    """Return the next rows; None for all.

    Few rows are kept as lists at a time, of which the garbage collector would visit all again and again.
    """
    count, numbers, lines = 0, list[int](), list[int]()
    columns: list[list[str]] = [[] for _ in range(widths.width)]
    while block := list(islice(rows, BLOCK_ROWS if size is None else min(BLOCK_ROWS, size - count))):
        block_numbers: Sequence[int] = range(first_number + count, first_number + count + len(block))
        count += len(block)
        if {len(cells) for _, cells in block} != {widths.width}:
            widths.refuse_others(block, rows)
            block_numbers, block = widths.skip_others(block, block_numbers)
        numbers += block_numbers
        lines += [line for line, _ in block]
        for column, values in zip(columns, zip(*(cells for _, cells in block), strict=True), strict=bool(block)):
            column.extend(values)
    return _Chunk(count, numbers, lines, list(map(tuple, columns)))


def detect_delimiter(sample: Sequence[str]) -> str:
    """Return the first delimiter that splits the first lines into an equal number of cells greater than one."""
    for delimiter in DELIMITERS.values():
        widths = {len(row) for row in csv.reader(sample, delimiter=delimiter, skipinitialspace=True) if row}
        if len(widths) == 1 and max(widths) > 1:
            return delimiter
    return max(",;\t|", key="".join(sample).count)


def _iter_lines(path: Path, option: str, encoding: str) -> Iterator[str]:
    """Yield the lines of a file with a line feed; those with other line ends inside, as in quotes, are split there."""
    for line in text_file.iter_lines(path, option, encoding, "a table of text"):
        if "\r" in line:
            yield from io.StringIO(f"{line}\n", newline="")
        else:
            yield f"{line}\n"


def _find_separator(sample: list[str], delimiter: str | None) -> str:
    """Return the separator, by option, declaration or detection; a declaration is removed from the sample."""
    declaration = SEPARATOR_LINE.match(sample[0]) if sample else None
    if declaration:
        sample[0] = sample[0][declaration.end() :]  # keeps an empty line, so that line numbers stay correct
        delimiter = delimiter or declaration[1]
    separator = detect_delimiter(sample) if delimiter is None else DELIMITERS.get(delimiter, delimiter)
    if len(separator) != 1:
        delimiter_names = ", ".join(DELIMITERS)
        raise DataError(f"delimiter: {delimiter!r} given; it must be one character, or one of {delimiter_names}")
    return separator


def _raise_cell_limit(path: Path, *, is_whole: bool) -> None:
    """Raise the maximum length of a cell, which is global to the process; a cell is not longer than its file."""
    size = path.stat().st_size
    csv.field_size_limit(max(csv.field_size_limit(), size if is_whole else min(size, MAX_CELL_CHARS)))


def _choose_chunk_rows(width: int, sample: Sequence[str]) -> int:
    """Return the number of rows of a chunk, at least as many as the detection of a header looks at."""
    line_chars = sum(map(len, sample)) / len(sample)
    rows = min(CHUNK_CELLS // width, int(CHUNK_CHARS / line_chars))
    # A multiple of the usual batch sizes, so that batches, and sums over them, are those of a file that is read whole.
    return max(SAMPLE_ROWS + 1, rows - rows % ROW_MULTIPLE if rows > ROW_MULTIPLE else rows)


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


def _parse_rows(path: Path, lines: Iterator[str], delimiter: str) -> Iterator[Row]:
    """Yield the non-empty rows, with cells stripped of surrounding whitespace."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    start_line = 1
    try:
        for row in reader:
            start_line = reader.line_num + 1
            cells = list(map(str.strip, row))
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        if start_line < reader.line_num:
            raise DataError(f"{path}: line {start_line} cannot be read as CSV: unclosed quotation mark") from error
        raise DataError(f"{path}: line {reader.line_num} cannot be read as CSV: {error}") from error


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
