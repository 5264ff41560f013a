"""Names of the nodes of a graph, of users and items, or of entities: their lookup in a table or in rows in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.readers import delimited
from trainer.data.readers.skipped_rows import SKIP_HINT, SkippedRows
from trainer.data.readers.table import Table
from trainer.data.readers.text_file import quote_cell
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import format_count

MAX_GUESSED_NAMES = 20_000
"""Maximum number of names among which the nearest one is searched for a message."""


@dataclass(frozen=True)
class NodeNames:
    """Names of consecutive nodes.

    Attributes:
        title: What they are, such as ``user``; also the title of their column.
        names: Name of each node.
        first: Node of the first name.
    """

    title: str
    names: Sequence[str]
    first: int = 0

    @cached_property
    def nodes(self) -> Mapping[str, int]:
        """Node of each name."""
        return {name: node for node, name in enumerate(self.names, self.first)}

    @cached_property
    def _array(self) -> np.ndarray:
        return np.array(self.names, dtype=object)

    def select(self, nodes: Tensor) -> np.ndarray:
        """Return the names (K,) of nodes (K,)."""
        names: np.ndarray = self._array[nodes.cpu().numpy() - self.first]
        return names

    def look_up(self, cells: Sequence[str]) -> Tensor:
        """Return the nodes (K,) of names, -1 for an unknown one."""
        return torch.tensor([self.nodes.get(cell, -1) for cell in cells], dtype=torch.long)

    def describe_unknown(self, cell: str, location: str) -> str:
        """Describe an unknown name, with the nearest one.

        Args:
            cell: The name.
            location: Where it is.
        """
        suggestion = did_you_mean(cell, self.names) if len(self.names) <= MAX_GUESSED_NAMES else ""
        return f"{location}: this run has no {self.title} {quote_cell(cell)}{suggestion}"


def find_nodes(
    sides: Sequence[NodeNames],
    columns: Sequence[Sequence[str]],
    describe: Callable[[int, int], str],
    source: str,
    skipped: SkippedRows | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the nodes (K, W) of rows of names, and the indices (K,) of these rows.

    Args:
        sides: Names of the nodes in each column.
        columns: Cells of each column.
        describe: Function from the indices of row and column to the location of a cell, for messages.
        source: Argument that the rows are from, for messages.
        skipped: Collects the rows with an unknown name; None refuses them.

    Raises:
        DataError: A name is unknown.
    """
    nodes = torch.stack([side.look_up(cells) for side, cells in zip(sides, columns, strict=True)], 1)
    is_unknown = nodes < 0
    rows = is_unknown.any(1).nonzero()[:, 0].tolist()
    for row in rows:
        column = int(is_unknown[row].int().argmax())
        problem = sides[column].describe_unknown(columns[column][row], describe(row, column))
        if skipped is None:
            count_note = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
            raise DataError(f"{source}: {problem}{count_note}", *([SKIP_HINT] if source == "input" else []))
        skipped.add(skipped.count, problem)
    index = (~is_unknown.any(1)).nonzero()[:, 0]
    return nodes[index], index


class TableFormat(NamedTuple):
    """Format of a table.

    Attributes:
        delimiter: Delimiter or its name; None to detect it.
        header: Whether the first row is a header.
        encoding: Text encoding.
    """

    delimiter: str | None = None
    header: Literal["auto"] | bool = "auto"
    encoding: str = "utf-8"


def read_table(path: str, table_format: TableFormat, names: Collection[str]) -> Table:
    """Read a table of names; with ``header=auto`` its first row is a header only if it has a name of a column.

    Texts below other texts do not show whether the first are names of columns.

    Args:
        path: File to read.
        table_format: Its format.
        names: Names of the columns.

    Raises:
        DataError: The file is missing, or not a rectangular table of text.
    """
    delimiter, header, encoding = table_format
    table = delimited.read(path, "input", delimiter, header is True, encoding)
    if header != "auto" or not any(column[0] in names for column in table.columns):
        return table
    if len(table) == 1:
        raise DataError(f"input: {Path(path).expanduser().absolute()} has a header but no rows")
    first = [column[0] for column in table.columns]
    columns = [column[1:] for column in table.columns]
    titles = [name or f"column {index}" for index, name in enumerate(first)]
    return Table(titles, columns, table.lines[1:], True, ((table.path, len(table) - 1),))


def find_column(table: Table, keys: Sequence[str | int], position: int) -> int:
    """Return the position of the first column that exists, or ``position`` in a table without a header.

    Args:
        table: The table.
        keys: Names or numbers of the column, by preference.
        position: Position of the column in a table without a header.

    Raises:
        DataError: The table has no such column.
    """
    known = [key for key in keys if (key in table.names if isinstance(key, str) else not table.has_header)]
    key = known[0] if known else keys[0] if table.has_header else position
    if isinstance(key, int) and key >= len(table.columns):
        raise DataError(f"input: {table.path} has {format_count(len(table.columns), 'column')}, without {keys[-1]}")
    return table.find_column(key, "input")


def describe_row(titles: Sequence[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """Return the JSON schema of a row of names.

    Args:
        titles: Titles of the columns.
        optional: Titles of those that may be missing.
    """
    required = [title for title in titles if title not in optional]
    return {"type": "object", "properties": {title: {"type": "string"} for title in titles}, "required": required}


def list_rows(rows: Any, titles: Sequence[str]) -> list[tuple[str, ...]]:
    """Return rows in memory as texts.

    Args:
        rows: Data frame or list of dicts with the columns ``titles``, or rows (K, W) of as many values.
        titles: Titles of the columns.

    Raises:
        DataError: They are not such rows, or there are none.
    """
    if isinstance(rows, str | bytes | Path):
        raise DataError(f"rows: a {type(rows).__name__} given; give a list of rows of {', '.join(titles)}")
    try:
        is_frame = all(title in getattr(rows, "columns", ()) for title in titles)
        values = list(zip(*(rows[title] for title in titles), strict=True)) if is_frame else list(rows)
        cells = [
            tuple(str(row[title]) for title in titles) if isinstance(row, Mapping) else _to_texts(row) for row in values
        ]
    except (TypeError, KeyError) as error:
        raise DataError(f"rows: each must have {', '.join(titles)} ({error})") from None
    invalid = next((row for row, texts in enumerate(cells) if len(texts) != len(titles)), None)
    if invalid is not None or not cells:
        found = "there are none" if invalid is None else f"row {invalid + 1} has {len(cells[invalid])} values"
        raise DataError(f"rows: {found}; each must have {', '.join(titles)}")
    return cells


def _to_texts(row: Any) -> tuple[str, ...]:
    return (row,) if isinstance(row, str) else tuple(str(value) for value in row)
