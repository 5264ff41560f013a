"""Plain-text tables, wrapped to the line width (40 columns or more), without importing rich."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence

from trainer.utils.text import escape_control_chars

UNLIMITED_WIDTH = 10_000
"""Width of output to a file or pipe, unless COLUMNS sets one."""
MIN_LAST_COLUMN_WIDTH = 24
"""Minimum width of the last column; if there is less space, cells are stacked."""


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print a table with columns of minimal width and a wrapped last column.

    Cells are stacked if the last column would be too narrow; the header is then cut to the line width.

    Args:
        rows: Header and rows, all of the same length. Columns without text are left out.
    """
    line_width = get_line_width()
    rows = [[escape_control_chars(cell, one_line=True) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    columns = [index for index, width in enumerate(widths) if width]
    start = sum(widths[index] + 2 for index in columns[:-1])
    # The columns before the last one may already be too wide.
    is_stacked = line_width - start < min(MIN_LAST_COLUMN_WIDTH, widths[columns[-1]])
    for index, row in enumerate(rows):
        if is_stacked and index:
            _print_stacked([row[column] for column in columns if row[column]], line_width)
        elif not is_stacked:
            prefix = "".join(f"{row[column]:<{widths[column]}}  " for column in columns[:-1])
            lines = textwrap.wrap(row[columns[-1]], max(1, line_width - start), break_on_hyphens=False) or [""]
            print(f"{prefix}{lines[0]}".rstrip())
            for line in lines[1:]:
                print(f"{'':<{start}}{line}")
        else:
            print("  ".join(cell for cell in row if cell)[:line_width])
    print()


def _print_stacked(cells: Sequence[str], line_width: int) -> None:
    """Print the first cell, and the others on lines below it, as many on a line as fit."""
    print(cells[0])
    line = ""
    for cell in cells[1:]:
        if line and len(line) + len(cell) + 4 > line_width:
            print(line)
            line = ""
        line = f"{line}  {cell}"
        if len(line) > line_width:
            print(
                textwrap.fill(
                    line.strip(), line_width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
                )
            )
            line = ""
    if line:
        print(line)


def print_text(text: str) -> None:
    """Print paragraphs, rewrapped if they are too wide; indented lines are kept as lines."""
    line_width = get_line_width()
    for paragraph in escape_control_chars(text).split("\n\n"):
        lines = paragraph.splitlines()
        if max(map(len, lines), default=0) <= line_width:
            print(paragraph)
        elif any(line.startswith(" ") for line in lines):
            for line in lines:
                indent = line[: len(line) - len(line.lstrip())]
                print(textwrap.fill(line, line_width, subsequent_indent=indent, break_on_hyphens=False))
        else:
            print(textwrap.fill(" ".join(lines), line_width, break_on_hyphens=False))
        print()


def get_line_width() -> int:
    """Return the line width of the terminal, or the value of COLUMNS."""
    # Without shutil, which takes longer to import than a list takes to print.
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return max(20, int(columns))
    if not sys.stdout.isatty():
        return 80 if columns.isdecimal() else UNLIMITED_WIDTH
    try:
        return max(20, os.get_terminal_size(sys.stdout.fileno()).columns or 80)
    except (OSError, ValueError):
        return 80
