"""Plain-text tables, wrapped at any width from 40 columns on, without importing rich."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence

from trainer.utils.text import escape_control_chars

UNLIMITED_WIDTH = 10_000
"""Width of output to a file or pipe, unless COLUMNS sets one."""
MIN_LAST_COLUMN_WIDTH = 24
"""Minimum width of the last column; in less room, cells are stacked."""


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print a table with columns of minimal width and a wrapped last column; stacked where that has no room."""
    edge = get_line_width()
    rows = [[escape_control_chars(cell, one_line=True) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    used = [place for place, width in enumerate(widths) if width]
    start = sum(widths[place] + 2 for place in used[:-1])
    # What is in front of the last column may be too wide by itself: then only the first stands alone.
    is_stacked = edge - start < min(MIN_LAST_COLUMN_WIDTH, widths[used[-1]])
    for place, row in enumerate(rows):
        if is_stacked and place:
            _print_stacked([row[column] for column in used if row[column]], edge)
        elif not is_stacked:
            front = "".join(f"{row[column]:<{widths[column]}}  " for column in used[:-1])
            lines = textwrap.wrap(row[used[-1]], max(1, edge - start), break_on_hyphens=False) or [""]
            print(f"{front}{lines[0]}".rstrip())
            for line in lines[1:]:
                print(f"{'':<{start}}{line}")
        else:
            print("  ".join(cell for cell in row if cell)[:edge])
    print()


def _print_stacked(cells: Sequence[str], edge: int) -> None:
    """Print the first cell, and below it the others, each on a new line if it does not fit."""
    print(cells[0])
    line = ""
    for cell in cells[1:]:
        if line and len(line) + len(cell) + 4 > edge:
            print(line)
            line = ""
        line = f"{line}  {cell}"
        if len(line) > edge:
            print(
                textwrap.fill(line.strip(), edge, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
            )
            line = ""
    if line:
        print(line)


def print_text(text: str) -> None:
    """Print paragraphs, re-wrapped where they are too wide; indented lines stay lines."""
    edge = get_line_width()
    for paragraph in escape_control_chars(text).split("\n\n"):
        lines = paragraph.splitlines()
        if max(map(len, lines), default=0) <= edge:
            print(paragraph)
        elif any(line.startswith(" ") for line in lines):
            for line in lines:
                indent = line[: len(line) - len(line.lstrip())]
                print(textwrap.fill(line, edge, subsequent_indent=indent, break_on_hyphens=False))
        else:
            print(textwrap.fill(" ".join(lines), edge, break_on_hyphens=False))
        print()


def get_line_width() -> int:
    """Return the line width of the terminal, or the one that COLUMNS sets."""
    # Not by shutil, whose archive formats take longer to load than a list to print.
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return max(20, int(columns))
    if not sys.stdout.isatty():
        return 80 if columns.isdecimal() else UNLIMITED_WIDTH
    try:
        return max(20, os.get_terminal_size(sys.stdout.fileno()).columns or 80)
    except (OSError, ValueError):
        return 80
