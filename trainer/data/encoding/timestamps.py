"""Reading of the time column of a series as a regular grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import numpy as np

from trainer.data.encoding import grid_fit, time_grid
from trainer.data.encoding.grid_fit import GridFit, Stamps
from trainer.data.encoding.time_formats import find_format, parse_cells, parse_iso, parse_with_format
from trainer.data.encoding.time_formatting import find_formatter
from trainer.data.encoding.time_grid import SIZES, Rhythm, TimeGrid, format_duration
from trainer.data.readers.header_detection import is_number
from trainer.data.readers.table import Table
from trainer.data.readers.text_file import quote_cell
from trainer.utils.errors import DataError
from trainer.utils.text import join_names


@dataclass(frozen=True)
class Advice:
    """Advice at the end of messages, on options that the user can still change; empty for the file of a trained run.

    Attributes:
        spacing: How uneven timestamps can be read.
        format: Key of the format of timestamps.
    """

    spacing: str = "data.time=null treats rows as evenly spaced"
    format: str = "data.time_format"


DATA_ADVICE = Advice()
NO_ADVICE = Advice("", "")
MIN_WEEKENDS = 2
"""Number of weekends without rows from which daily rows are taken for those of business days."""


def read_time_grid(
    table: Table,
    column: int,
    pattern: str | None,
    *,
    rhythm: Rhythm | None = None,
    finds_business_days: bool = False,
    advice: Advice = DATA_ADVICE,
) -> TimeGrid:
    """Read the time column of a table as a regular grid.

    A step is the most frequent difference, in months where all timestamps are on the same day of the month or on its
    last day. Timestamps may be rounded to their written digits, and days may have 23 or 25 hours at daylight saving
    time changes.

    Args:
        table: Table with the timestamps.
        column: Time column.
        pattern: strptime format; None for ISO 8601 or numbers.
        rhythm: Rhythm of the training rows, which decides whether weekends are skipped and is that of a single row;
            None if it is unknown.
        finds_business_days: Without a rhythm, whether daily rows that skip all weekends are those of business days;
            otherwise the weekends are missing rows.
        advice: Advice at the end of messages.

    Raises:
        DataError: A timestamp cannot be parsed, is not later than the previous one or is off the grid.
    """
    cells, stamps = table.columns[column], _read_stamps(table, column, pattern, advice)
    values, unit = grid_fit.to_numbers(stamps)
    differences = np.diff(values)
    if (differences <= 0).any():
        raise DataError(_describe_backward_step(table, column, differences))
    resolution = grid_fit.get_resolutions(cells, pattern, is_date=unit.unit != "")
    if not len(differences):
        fit: GridFit | None = GridFit(np.zeros(1, dtype=np.int64), rhythm)
    else:
        is_business = rhythm is not None and rhythm.unit == "business day"
        min_weekends = 0 if is_business else MIN_WEEKENDS if rhythm is None and finds_business_days else None
        fit = None if min_weekends is None else grid_fit.fit_business_days(stamps, min_weekends)
        fit = fit or grid_fit.fit_grid(values, unit, resolution)
    if fit is None:
        step, is_off_grid = grid_fit.find_step(differences)
        row, sizes = int(np.argmax(is_off_grid)), SIZES[unit.unit]
        raise DataError(
            f"{table.describe_cell(row + 1, column)}: {cells[row + 1]} is {format_duration(differences[row], sizes)}"
            f" after {cells[row]}, but most rows are {format_duration(step, sizes)} apart"
            + (advice.spacing and f"; {advice.spacing}")
        )
    return TimeGrid(cells, fit.steps, fit.rhythm, _make_namer(cells, stamps, pattern, fit, float(resolution.min())))


def _make_namer(
    cells: Sequence[str], stamps: Stamps, pattern: str | None, fit: GridFit, resolution: float
) -> Callable[[int], str] | None:
    """Return the function that writes the timestamp of a grid step; None without a rhythm."""
    rhythm, last_step = fit.rhythm, int(fit.steps[-1])
    dates = [stamp for stamp in stamps if isinstance(stamp, datetime)]
    if rhythm is None or (rhythm.unit == "") == bool(dates):  # a single row of another kind than the training rows
        return None
    if not dates:
        return time_grid.make_number_namer(cells, fit.steps, rhythm.step, fit.offset)
    write, first, last = find_formatter(cells, dates, pattern), dates[0], dates[-1]
    if fit.is_exact:
        return lambda step: write(time_grid.add_rhythm(last, rhythm, step - last_step))
    if not fit.offset:
        return lambda step: write(
            time_grid.round_time(time_grid.add_rhythm(last, rhythm, step - last_step), resolution)
        )
    start = (first.astimezone(last.tzinfo) if last.tzinfo else first) + timedelta(seconds=fit.offset)
    return lambda step: write(time_grid.round_time(time_grid.add_rhythm(start, rhythm, step), resolution))


def _describe_backward_step(table: Table, column: int, differences: np.ndarray) -> str:
    """Describe the first row that is not later than the previous one."""
    cells, row = table.columns[column], int(np.argmax(differences <= 0))
    hint = "; rows are in reverse order, so reverse the file" if (differences < 0).all() else ""
    if not hint and (series_column := _find_series_column(table, column, differences)) is not None:
        names = join_names(dict.fromkeys(table.columns[series_column]), 5)
        hint = (
            f"; column {table.names[series_column]!r} identifies several series ({names}): use a file with one of them,"
            " or one column per series"
        )
    location = table.describe_cell(row + 1, column)
    return f"{location}: {cells[row + 1]} is not later than {cells[row]} in the previous row{hint}"


def _find_series_column(table: Table, time_column: int, differences: np.ndarray) -> int | None:
    """Return the column that groups rows into series of increasing time, or None."""
    values = np.concatenate(([0.0], differences.cumsum()))
    for column, cells in enumerate(table.columns):
        number = {cell: i for i, cell in enumerate(dict.fromkeys(cells))}
        if column == time_column or not 1 < len(number) <= len(cells) / 2:
            continue
        group = np.fromiter(map(number.__getitem__, cells), np.int64, len(cells))
        order = np.argsort(group, kind="stable")
        if (np.diff(values[order])[np.diff(group[order]) == 0] > 0).all():
            return column
    return None


def _read_stamps(table: Table, column: int, pattern: str | None, advice: Advice) -> Stamps:
    cells = table.columns[column]
    dates = parse_cells(cells, parse_iso if pattern is None else partial(parse_with_format, pattern=pattern))
    numbers = [] if pattern is not None or len(dates) == len(cells) else parse_cells(cells, _parse_number)
    stamps: Stamps = dates if len(dates) >= len(numbers) else numbers
    if len(stamps) < len(cells):
        location, cell = table.describe_cell(len(stamps), column), cells[len(stamps)]
        if pattern is not None:
            raise DataError(f"{location}: {quote_cell(cell)} does not match data.time_format={pattern}")
        problem = f"{location}: {quote_cell(cell)} is neither a time such as 2016-07-31 12:00 nor a number"
        if not advice.format:
            raise DataError(problem)
        detected_format = find_format(list(dict.fromkeys(cells)))
        hint = f'it looks like {advice.format}="{detected_format}"' if detected_format else "such as %d.%m.%Y"
        raise DataError(f"{problem}; set {advice.format}, {hint}")
    return stamps


def _parse_number(cell: str) -> float:
    if not is_number(cell) or not math.isfinite(value := float(cell)):
        raise ValueError(cell)
    return value
