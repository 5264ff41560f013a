"""Tables of triples whose names are looked up in a knowledge graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.data.encoding import node_names
from trainer.data.encoding.node_names import TableFormat
from trainer.data.readers import triples_file
from trainer.utils.errors import DataError

PARTS = ("head", "relation", "tail")
TABLE_SUFFIXES = (".csv", ".tsv")


@dataclass(frozen=True)
class TripleTable:
    """Names of the parts of triples.

    Attributes:
        columns: Names of each part that is given, in the order of ``PARTS``.
        locate: Function from the numbers of row and column to the location of a name, for messages.
    """

    columns: Mapping[str, Sequence[str]]
    locate: Callable[[int, int], str]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def select(self, rows: range) -> TripleTable:
        """Return some rows."""
        columns = {part: cells[rows.start : rows.stop] for part, cells in self.columns.items()}
        return TripleTable(columns, lambda row, column: self.locate(rows.start + row, column))


def read(path: str, order: Sequence[str], delimiter: str | None) -> TripleTable:
    """Read triples, or two of their parts.

    A table (.csv, .tsv) with a header has a column ``relation`` and one or both of ``head`` and ``tail``. Without one,
    the columns are in the order of training; of two columns the tail is missing.

    Args:
        path: File to read.
        order: Order of the columns in the training files.
        delimiter: Column delimiter; None detects it.

    Raises:
        DataError: The file is missing, has no rows or other columns.
    """
    if Path(path).suffix.lower() in TABLE_SUFFIXES:
        table = node_names.read_table(path, TableFormat(delimiter), PARTS)
        parts = [part for part in PARTS if part in table.names]
        if not table.has_header:
            parts = _name_columns(len(table.names), order, path)
        elif "relation" not in parts or len(parts) == 1:
            missing = "relation" if "relation" not in parts else "tail"
            table.find_column(missing, "input")
        positions = [table.names.index(part) if table.has_header else index for index, part in enumerate(parts)]
        positions = [positions[parts.index(part)] for part in PARTS if part in parts]
        columns = {part: table.columns[position] for part, position in zip(_sort(parts), positions, strict=True)}
        return TripleTable(columns, lambda row, column: table.describe_cell(row, positions[column]))
    lines = list(triples_file.iter_lines(path, "input", delimiter))
    if not lines:
        raise DataError(f"input: {path} contains no triples")
    parts = _name_columns(len(lines[0][1]), order, path)
    for number, cells, separator in lines:
        if len(cells) != len(parts):
            raise DataError(
                f"input: {path} line {number} has {len(cells)} columns separated by {separator}; the first has"
                f" {len(parts)}"
            )
    cells_by_part: dict[str, Sequence[str]] = {
        part: [cells[parts.index(part)] for _, cells, _ in lines] for part in _sort(parts)
    }
    return TripleTable(cells_by_part, lambda row, column: f"{path}: line {lines[row][0]}, {_sort(parts)[column]}")


def _sort(parts: Sequence[str]) -> list[str]:
    return [part for part in PARTS if part in parts]


def _name_columns(count: int, order: Sequence[str], path: str) -> list[str]:
    if count == len(PARTS):
        return list(order)
    if count == len(PARTS) - 1:
        return [part for part in order if part != "tail"]
    raise DataError(
        f"input: {path} has {count} columns; it must have {', '.join(order)}, or head and relation to ask for tails"
    )
