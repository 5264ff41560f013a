"""Keys that identify the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trainer.core.preprocessing import RowKeys, make_content_keys
from trainer.data.readers.table import Table

CELL_MARK = "\x1f"
"""Separator of cells in row keys."""


def make_row_keys(table: Table, columns: Iterable[int], normalize: Callable[[str], str] = str) -> RowKeys:
    """Return a key for each row from the normalized cells of some columns.

    Args:
        table: Table.
        columns: Positions of the columns.
        normalize: Function that maps equal cells to one spelling.
    """
    normalized = []
    for column in columns:
        normalized_cells = {cell: normalize(cell) for cell in set(table.columns[column])}
        normalized.append([normalized_cells[cell] for cell in table.columns[column]])
    return make_content_keys(map(CELL_MARK.join, zip(*normalized, strict=True)))
