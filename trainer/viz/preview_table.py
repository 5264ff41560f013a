"""Table of the first rows of a file of predictions, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal

import numpy as np
from rich.table import Table

from trainer.core.prediction_columns import Column
from trainer.utils.text import escape_control_chars, format_count, shorten_label
from trainer.viz import score_tables

MAX_ROWS, MAX_CELL_LENGTH = 5, 24
COLUMN_GAP = 3
"""Width between two columns."""


def build_preview_table(columns: Mapping[str, Column], width: int) -> Table:
    """Build a table of the first rows, with as many columns as fit.

    Args:
        columns: Cells of each column, by title.
        width: Width of the terminal.
    """
    cells = {title: list(map(_format_cell, islice(column, MAX_ROWS))) for title, column in columns.items()}
    table = score_tables.new_table(None)
    used, shown = 0, list[str]()
    for title, texts in cells.items():
        used += max(len(text) for text in (shorten_label(title, MAX_CELL_LENGTH), *texts)) + COLUMN_GAP
        if shown and used > width:
            break
        shown.append(title)
        is_number = isinstance(columns[title], np.ndarray | range)
        justify: Literal["left", "right"] = "right" if is_number else "left"
        table.add_column(shorten_label(title, MAX_CELL_LENGTH), justify=justify, overflow="fold")
    for row in zip(*(cells[title] for title in shown), strict=True):
        table.add_row(*row)
    num_hidden = len(cells) - len(shown)
    table.caption = f"and {format_count(num_hidden, 'more column')}" if num_hidden else None
    return table


def _format_cell(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float | np.floating):
        return score_tables.format_number(float(cell))
    return shorten_label(escape_control_chars(str(cell), one_line=True), MAX_CELL_LENGTH)
