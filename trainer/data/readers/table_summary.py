"""How a table was read, in a line for each column."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from trainer.data.encoding.column_encoding import Column
from trainer.data.encoding.targets import Target
from trainer.data.readers.delimited import Table
from trainer.utils.text import printable

MOST = 200
"""How many lines are written of a table with more columns."""
log = logging.getLogger(__name__)


def of_table(
    table: Table,
    columns: Mapping[int, Column],
    values: Mapping[int, np.ndarray],
    answer: Target | None,
    rest: str | None = "no feature",
) -> list[str]:
    """``age: number, mean 38.6, 3 gaps``; ``zip: category, 12 + other``; ``kind: class, 3 classes``. The log has it.

    rest: what is said of other columns; None leaves them out.
    """
    lines = [first_line(table)]
    for place, name in enumerate(table.names):
        shown = printable(name, one_line=True)
        if place in columns:
            lines.append(f"{shown}: {_feature(columns[place], values[place])}")
        elif answer is not None and place == answer.at:
            lines.append(f"{shown}: {_target(answer)}")
        elif rest is not None:
            lines.append(f"{shown}: {rest}")
    return logged(lines)


def of_target(answer: Target) -> list[str]:
    """The same of a target alone."""
    return logged([f"{printable(answer.table.names[answer.at], one_line=True)}: {_target(answer)}"])


def of_series(table: Table, columns: Sequence[int], time: int | None, values: np.ndarray) -> list[str]:
    """The same of a series (T, C) of the columns chosen."""
    found = dict(zip(columns, values.T, strict=True))
    lines = [first_line(table)]
    for place, name in enumerate(table.names):
        used = numbers(found[place]) if place in found else "time" if place == time else "left out"
        lines.append(f"{printable(name, one_line=True)}: {used}")
    return logged(lines)


def first_line(table: Table) -> str:
    """The files, how many rows, and whether they have a header."""
    files = " and ".join(path.name for path, _ in table.sources)
    return f"{files}: {len(table)} rows, {'with a header' if table.has_header else 'no header'}"


def numbers(values: np.ndarray) -> str:
    """What a column of numbers holds, of which those that are not finite are gaps."""
    good = np.isfinite(values)
    mean = f", mean {values[good].mean():.4g}" if good.any() else ""
    return f"number{mean}{many(int((~good).sum()), 'gap')}"


def many(count: int, what: str) -> str:
    """``, 3 gaps``; nothing for none."""
    return f", {count} {what}{'s' * (count > 1)}" if count else ""


def logged(lines: Sequence[str]) -> list[str]:
    """The lines, of which the log has the first."""
    for line in lines[:MOST]:
        log.info("%s", line)
    if len(lines) > MOST:
        log.info("and %d more columns", len(lines) - MOST)
    return list(lines)


def _feature(column: Column, values: np.ndarray) -> str:
    if column["kind"] == "number":
        return numbers(values)
    kept = [name for name in column["categories"] if name]
    other = " + other" if column["other"] else ""
    return f"category, {len(kept)}{other}{many(int((values == '').sum()), 'gap')}"


def _target(answer: Target) -> str:
    if answer.names:
        return f"class, {len(answer.names)} classes{many(int((~answer.known).sum()), 'gap')}"
    return f"target, {numbers(np.where(answer.known, answer.values, np.nan))}"
