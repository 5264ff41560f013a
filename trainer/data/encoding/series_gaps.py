"""Messages about the missing rows and values of a series."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np

from trainer.data.encoding.timestamps import DATA_ADVICE, Advice
from trainer.data.readers.table import Table
from trainer.data.readers.text_file import quote_cell
from trainer.utils.errors import DataError

MAX_MISSING_RATIO = 10
"""Maximum ratio of time steps to rows; beyond it, a timestamp is more likely wrong than rows missing."""


def describe_missing_rows(table: Table, time: int, steps: np.ndarray, advice: Advice = DATA_ADVICE) -> list[str]:
    """Describe missing rows, with the rows around the first missing block.

    Args:
        table: Table of the series.
        time: Position of the time column.
        steps: Time step of each row, (T,), ascending.
        advice: Advice at the end of messages.

    Raises:
        DataError: Nearly all rows are missing.
    """
    jumps = np.flatnonzero(np.diff(steps) > 1)
    if not len(jumps):
        return []
    gap_lengths = np.diff(steps)[jumps] - 1
    num_missing = int(gap_lengths.sum())
    is_too_sparse = num_missing > MAX_MISSING_RATIO * len(steps)
    gap = int(gap_lengths.argmax()) if is_too_sparse else 0
    row, stamp = int(jumps[gap]), table.columns[time]
    problem = (
        f"{table.describe_cell(row + 1, time)}: {_pluralize(int(gap_lengths[gap]), 'row')} missing between {stamp[row]}"
        f" and {stamp[row + 1]}; {num_missing} missing in all, at {_pluralize(len(jumps), 'place')}"
    )
    if is_too_sparse:
        raise DataError(f"{problem}, and only {len(steps)} present" + (advice.spacing and f"; {advice.spacing}"))
    return [problem + (advice.spacing and f" ({advice.spacing})")]


def describe_missing_values(table: Table, columns: Sequence[int], time: int | None, values: np.ndarray) -> list[str]:
    """Describe the missing values (NaN) of each column that has some.

    Args:
        table: Table of the series.
        columns: Positions of the columns.
        time: Position of the time column, if any.
        values: Numbers of the columns, (T, C).
    """
    problems = []
    for column, index in enumerate(columns):
        rows = np.flatnonzero(np.isnan(values[:, column]))
        if len(rows):
            row = int(rows[0])
            run_length = next(n for n in count(1) if n == len(rows) or rows[n] != row + n)
            stamp = None if time is None else table.columns[time]
            until = f" to {stamp[row + run_length - 1]}" if stamp and run_length > 1 else ""
            when = "" if stamp is None else f" at {stamp[row]}{until}"
            problems.append(
                f"{table.describe_cell(row, index)}: missing value ({quote_cell(table.columns[index][row])}){when};"
                f" {_pluralize(len(rows), 'such cell')} in the column"
            )
    return problems


def _pluralize(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
