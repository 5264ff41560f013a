"""A delimited text file as columns of text, with complaints that name file, row and column."""

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
from trainer.data.readers.text_file import join_names
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

DELIMITERS = {"tab": "\t", "semicolon": ";", "bar": "|", "comma": ",", "space": " "}
"""In the order they are tried: a comma may also be a decimal sign, and a blank parts words."""
CELL_MARK = "\x1f"
"""Between the cells of a row, of which keys are made."""
SEPARATOR_LINE = re.compile(r'\A"?sep=(.)"?[ \t]*(?=\r?\n)', re.IGNORECASE)
"""By which Excel is told, in the first line of a file, what parts the cells."""


@dataclass(frozen=True)
class Table:
    """Columns of text, blanks around every cell taken off.

    names: from the header, or ``column 0``, ``column 1``, ... lines: where each row stands in its file, from 1.
    sources: the files it was read from, each with its number of rows.
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
        """The place of a cell for messages; rows are counted from 1, without the header."""
        ends = list(accumulate(rows for _, rows in self.sources))
        place = bisect_right(ends, row)
        within = row - (ends[place - 1] if place else 0)
        path = self.sources[place][0]
        return f"{path}: row {within + 1} (line {self.lines[row]}), column {self.names[column]!r}"

    def find_column(self, key: str | int, option: str) -> int:
        """The place of a column given by name or by number, from 0 or from the end (-1 is the last).

        Raises ConfigError with the nearest name and all there are.
        """
        if str(key) in self.names:
            return self.names.index(str(key))
        if isinstance(key, int) and -len(self.names) <= key < len(self.names):
            return key % len(self.names)
        if isinstance(key, int):
            raise ConfigError(
                f"{option}: no column {key}; {self.path} has {len(self.names)}, 0 to {len(self.names) - 1}"
            )
        if not self.has_header:
            first = join_names(column[0] for column in self.columns)
            raise ConfigError(
                f"{option}: no column {key!r}: {self.path} has no header (it begins {first}), so give a number,"
                f" 0 to {len(self.names) - 1} or -1 for the last; or data.header=true"
            )
        guess = did_you_mean(key, self.names)
        raise ConfigError(f"{option}: no column {key!r} in {self.path}{guess} (columns: {join_names(self.names)})")

    def column_keys(self, places: Iterable[int]) -> str:
        """Columns as one would write them on the command line."""
        return text_file.quote_for_shell(f"[{','.join(map(self._make_column_key, places))}]")

    def column_key(self, place: int) -> str:
        """The same of one column."""
        return text_file.quote_for_shell(self._make_column_key(place))

    def _make_column_key(self, place: int) -> str:
        """What ``find`` finds a column by. A name that is a number is not the place of another column."""
        if self.has_header and not self.is_unnamed(place):
            return text_file.format_override_value(self.names[place])
        return str(place if str(place) not in self.names else place - len(self.names))

    def row_keys(self, columns: Iterable[int], normalize: Callable[[str], str] = str) -> RowKeys:
        """A key for each row by the cells of some columns, each as ``normalize`` writes what it holds."""
        spelled = []
        for place in columns:
            known = {cell: normalize(cell) for cell in set(self.columns[place])}
            spelled.append([known[cell] for cell in self.columns[place]])
        return make_content_keys(map(CELL_MARK.join, zip(*spelled, strict=True)))

    def is_unnamed(self, place: int) -> bool:
        """Whether a header stands over every column but this one; pandas names it so when it reads such a file."""
        return self.has_header and self.names[place] in (f"column {place}", f"Unnamed: {place}")

    def is_index_column(self, place: int) -> bool:
        """Whether a column without a name holds another whole number in each row: pandas writes its index so."""
        return self.is_unnamed(place) and is_row_number_column(self.columns[place])

    def append_rows(self, other: Table) -> Table:
        """These rows and then those of another table, whose columns are matched by name where both have a header.

        Raises ConfigError when columns lack.
        """
        by_name = self.has_header and other.has_header
        lacking = [name for name in self.names if name not in other.names] if by_name else []
        if lacking:
            raise ConfigError(f"{other.path} lacks columns that {self.path} has: {join_names(lacking)}")
        if not by_name and len(self.names) != len(other.names):
            raise ConfigError(f"{other.path} has {len(other.names)} columns, {self.path} has {len(self.names)}")
        places = [other.names.index(name) if by_name else i for i, name in enumerate(self.names)]
        columns = [mine + other.columns[place] for mine, place in zip(self.columns, places, strict=True)]
        sources = self.sources + other.sources
        return Table(self.names, columns, [*self.lines, *other.lines], self.has_header, sources)


class ColumnFinder:
    """Finds columns of a table as ``Table.find`` does, and tells at the end of all that are not there."""

    def __init__(self, table: Table):
        self._table = table
        self._problems: list[str] = []

    def __call__(self, key: str | int, option: str) -> int:
        """The place of a column; 0 for one that is not there."""
        try:
            return self._table.find_column(key, option)
        except ConfigError as error:
            self._problems += error.problems
            return 0

    def raise_missing(self) -> None:
        """Raises ConfigError for the columns that are not there."""
        if self._problems:
            raise ConfigError(*self._problems)


def read(
    path: str,
    option: str,
    delimiter: str | None,
    header: Literal["auto"] | bool,
    encoding: str,
    expected: Collection[str | int | None] = (),
) -> Table:
    """The table in a file. ``expected`` are columns the caller will ask for: with one in the first row, it is a header.

    Raises ConfigError, naming ``option`` or the row, for a file that is not there or not a rectangular table of text,
    and for one of which ``header=auto`` cannot tell.
    """
    place = Path(path).expanduser()
    text = text_file.read(place, option, encoding, wanted="a table of text")
    # The limit is the process's own; a cell can be no longer than its file.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    separator = SEPARATOR_LINE.match(text)
    if separator:
        text = text[separator.end() :]  # and an empty line remains, so that lines are counted right
        delimiter = delimiter or separator[1]
    mark = detect_delimiter(text) if delimiter is None else DELIMITERS.get(delimiter, delimiter)
    if len(mark) != 1:
        known = ", ".join(DELIMITERS)
        raise ConfigError(f"data.delimiter: {delimiter!r} given; it must be one character, or one of {known}")
    rows, lines = _parse_rows(place, text, mark)
    if not rows:
        raise ConfigError(f"{option}: {place.absolute()} is empty")
    wrong = [i for i, row in enumerate(rows) if len(row) != len(rows[0])]
    if wrong:
        more = f"; so differ {len(wrong)} lines" if len(wrong) > 1 else ""
        raise ConfigError(
            f"{place}: line {lines[wrong[0]]} has {len(rows[wrong[0]])} cells, the first has {len(rows[0])}{more}"
            f" (cells are parted by {mark!r}; data.delimiter sets another)"
        )
    first = rows[0]
    has_header = _has_header(place, rows, option, expected) if header == "auto" else header
    if has_header:
        rows, lines = rows[1:], lines[1:]
        _refuse_duplicates(place, first)
    if not rows:
        raise ConfigError(f"{option}: {place.absolute()} has a header and no rows")
    names = [name if has_header and name else f"column {i}" for i, name in enumerate(first)]
    return Table(names, list(zip(*rows, strict=True)), lines, has_header, ((place, len(rows)),))


def detect_delimiter(text: str) -> str:
    """The first delimiter that cuts the first rows into the same number of cells, and into more than one."""
    sample = list(islice(io.StringIO(text, newline=""), SAMPLE_ROWS))
    for delimiter in DELIMITERS.values():
        widths = {len(row) for row in csv.reader(sample, delimiter=delimiter, skipinitialspace=True) if row}
        if len(widths) == 1 and max(widths) > 1:
            return delimiter
    return max(",;\t|", key="".join(sample).count)


def _has_header(path: Path, rows: Sequence[Sequence[str]], option: str, expected: Collection[str | int | None]) -> bool:
    """Raises ConfigError for a first row that may be names or numbers, where an option can say which."""
    if has_column_names(rows[0], expected):
        return True
    found = looks_like_header(rows)
    if found is None and option.startswith("data."):
        raise ConfigError(
            f"{option}: the first row of {path} counts the columns; data.header=true takes it as their names,"
            f" data.header=false as numbers ({join_names(rows[0], 6)})"
        )
    return bool(found)


def _parse_rows(path: Path, text: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """Rows that hold something, and the line each ends on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows, lines, begun = [], [], 1
    try:
        for row in reader:
            begun = reader.line_num + 1
            cells = list(map(str.strip, row))
            if any(cells):
                rows.append(cells)
                lines.append(reader.line_num)
    except csv.Error as error:
        if begun < reader.line_num:
            raise ConfigError(f"{path}: line {begun} cannot be read as CSV: none closes its quotation mark") from error
        raise ConfigError(f"{path}: line {reader.line_num} cannot be read as CSV: {error}") from error
    return rows, lines


def _refuse_duplicates(path: Path, names: Sequence[str]) -> None:
    twice = {name: [i for i, other in enumerate(names) if other == name] for name in names if name}
    problems = [
        f"{path}: {len(places)} columns are named {name!r} (numbers {', '.join(map(str, places))}, from 0)"
        for name, places in twice.items()
        if len(places) > 1
    ]
    if problems:
        raise ConfigError(*problems)
