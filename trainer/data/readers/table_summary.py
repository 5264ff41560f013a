"""Summary of a parsed table, one line per column."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from trainer.data.encoding.column_encoding import Column
from trainer.data.encoding.targets import Target
from trainer.data.readers.table import Table
from trainer.utils.text import escape_control_chars

MAX_LOGGED_LINES = 200
"""Maximum number of logged lines."""
log = logging.getLogger(__name__)


def summarize_table(
    table: Table,
    columns: Mapping[int, Column],
    values: Mapping[int, np.ndarray],
    target: Target | None,
    other_summary: str | None = "dropped",
) -> list[str]:
    """Summarize and log the columns of a table.

    ``age: number, mean 38.6, 3 missing values``; ``zip: category, 12 + other``; ``kind: class, 3 classes``.

    Args:
        table: Table.
        columns: Encoding of each feature column, by position.
        values: Parsed cells of each feature column, by position.
        target: Target column, if any.
        other_summary: Summary of other columns; None omits them.
    """
    lines = [first_line(table)]
    for index, name in enumerate(table.names):
        escaped = escape_control_chars(name, one_line=True)
        if index in columns:
            lines.append(f"{escaped}: {_summarize_feature(columns[index], values[index])}")
        elif target is not None and index == target.column:
            lines.append(f"{escaped}: {_summarize_class_counts(target)}")
        elif other_summary is not None:
            lines.append(f"{escaped}: {other_summary}")
    return log_lines(lines)


def summarize_target(target: Target) -> list[str]:
    """Summarize and log a target column."""
    return log_lines(
        [f"{escape_control_chars(target.table.names[target.column], one_line=True)}: {_summarize_class_counts(target)}"]
    )


def summarize_series(table: Table, columns: Sequence[int], time: int | None, values: np.ndarray) -> list[str]:
    """Summarize and log the selected columns of a series (T, C).

    Args:
        table: Table of the series.
        columns: Positions of the selected columns.
        time: Position of the time column, if any.
        values: Numbers of the selected columns, (T, C).
    """
    values_by_column = dict(zip(columns, values.T, strict=True))
    lines = [first_line(table)]
    for index, name in enumerate(table.names):
        summary = (
            summarize_numbers(values_by_column[index])
            if index in values_by_column
            else "time"
            if index == time
            else "left out"
        )
        lines.append(f"{escape_control_chars(name, one_line=True)}: {summary}")
    return log_lines(lines)


def first_line(table: Table) -> str:
    """Return a line with files, number of rows and header."""
    files = " and ".join(path.name for path, _ in table.sources)
    return f"{files}: {len(table)} rows, {'with a header' if table.has_header else 'no header'}"


def summarize_numbers(values: np.ndarray) -> str:
    """Summarize a numeric column; values that are not finite count as missing."""
    is_known = np.isfinite(values)
    mean = f", mean {values[is_known].mean():.4g}" if is_known.any() else ""
    return f"number{mean}{format_count(int((~is_known).sum()), 'missing value')}"


def format_count(count: int, noun: str) -> str:
    """Format a count as ``, 3 missing values``; empty for 0.

    Args:
        count: The count.
        noun: Regular noun in the singular.
    """
    return f", {count} {noun}{'s' * (count > 1)}" if count else ""


def log_lines(lines: Sequence[str]) -> list[str]:
    """Log up to ``MAX_LOGGED_LINES`` lines and return all."""
    for line in lines[:MAX_LOGGED_LINES]:
        log.info("%s", line)
    if len(lines) > MAX_LOGGED_LINES:
        log.info("and %d more columns", len(lines) - MAX_LOGGED_LINES)
    return list(lines)


def _summarize_feature(column: Column, values: np.ndarray) -> str:
    if column["kind"] == "number":
        return summarize_numbers(values)
    names = [name for name in column["categories"] if name]
    other = " + other" if column["other"] else ""
    return f"category, {len(names)}{other}{format_count(int((values == '').sum()), 'missing value')}"


def _summarize_class_counts(target: Target) -> str:
    if target.names:
        return f"class, {len(target.names)} classes{format_count(int((~target.known_mask).sum()), 'missing value')}"
    return f"target, {summarize_numbers(np.where(target.known_mask, target.values, np.nan))}"
