"""Stored schema of a series, by which the tables of other series are encoded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from trainer.data.encoding import cell_messages, series_gaps, timestamps
from trainer.data.encoding.series_index import SeriesIndex
from trainer.data.encoding.standardization import MAX_STANDARDIZED_VALUE
from trainer.data.encoding.time_grid import Rhythm, TimeGrid
from trainer.data.encoding.timestamps import NO_ADVICE
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.table import ColumnFinder, Table
from trainer.utils.errors import DataError
from trainer.utils.text import format_count, join_names

log = logging.getLogger(__name__)
T = TypeVar("T")
Gaps = Literal["error", "interpolate", "drop"]
GAP_ADVICE = "gaps=interpolate fills them linearly"


@dataclass(frozen=True)
class SeriesSchema:
    """Columns of a training series, and what was fitted on them.

    Attributes:
        columns: Names of the columns that are inputs and targets, or their positions in a file without a header.
        moments: Mean and standard deviation of each column.
        time: Time column, by name or position; None for rows at regular intervals.
        time_format: strptime format of the timestamps; None for ISO 8601 or numbers.
        rhythm: Distance of the timestamps; None if it is unknown.
        names: Names of all columns of the training file; empty if they are unknown.
        has_header: Whether the names come from a header.
    """

    columns: Sequence[str | int]
    moments: Mapping[str, Sequence[float]]
    time: str | int | None = None
    time_format: str | None = None
    rhythm: Rhythm | None = None
    names: Sequence[str] = ()
    has_header: bool = True

    def name_column(self, key: str | int) -> str | int:
        """Return the name of a column that was selected by its position in a file with a header.

        Args:
            key: Name or position.
        """
        if isinstance(key, int) and self.has_header and self.names:
            return self.names[key]
        return key

    def find_columns(self, table: Table) -> tuple[list[int], int | None]:
        """Return the positions of the columns in another table, by name or by order, and that of its time column.

        Other columns are logged.

        Args:
            table: Table of the other series.

        Raises:
            DataError: Columns are missing.
        """
        keys = [self.name_column(key) for key in (*self.columns, *([] if self.time is None else [self.time]))]
        if not table.has_header:
            positions = self._match_by_order(table, keys)
        else:
            find = ColumnFinder(table)
            positions = [find(key, "input") for key in keys]
            find.raise_missing()
            unknown = [name for name in table.names if name not in {*self.names, *map(str, keys)}]
            if unknown and not any(isinstance(key, int) for key in keys):
                log.warning(
                    "%s: columns that are not in the training file are ignored: %s", table.path, join_names(unknown)
                )
        return (positions, None) if self.time is None else (positions[:-1], positions[-1])

    def _match_by_order(self, table: Table, keys: Sequence[str | int]) -> list[int]:
        """Return the positions of columns in a table without a header, which has the order of the training file."""
        positions = self._find_training_positions(keys)
        if positions and len(table.names) == len(self.names):
            return positions
        if len(table.names) == len(keys) and (positions or self.time is None):
            return [sorted(positions).index(position) for position in positions] or list(range(len(keys)))
        raise DataError(
            f"input: {table.path} has no header and {len(table.names)} columns; the training file has"
            f" {len(self.names) or len(keys)}, of which these are read: {join_names(map(str, keys))}"
        )

    def _find_training_positions(self, keys: Sequence[str | int]) -> list[int]:
        """Return the positions of columns in the training file; none if its columns are unknown."""
        names = list(self.names)
        return [key % len(names) if isinstance(key, int) else names.index(key) for key in keys] if names else []


def encode_series(
    schema: SeriesSchema,
    table: Table,
    cell_format: CellFormat,
    gaps: Gaps,
    history: int,
    horizon: int,
    *,
    uses_all: bool,
) -> tuple[np.ndarray, SeriesIndex]:
    """Encode the rows of another series like the training rows.

    Args:
        schema: Schema of the training series.
        table: Table of the other series.
        cell_format: Format of the cells.
        gaps: Refuse missing values, or leave them as NaN.
        history: Number of input steps.
        horizon: Number of target steps; 0 for inputs alone.
        uses_all: Whether all steps are used, or only the last ones, whose missing values alone are refused.

    Returns:
        Standardized series (T, F) float32 of the used steps, NaN where a value is missing, and the names of its steps.

    Raises:
        DataError: There are too few rows, columns are missing, cells are not numbers, timestamps are uneven, or values
            are missing.
    """
    columns, time = schema.find_columns(table)
    errors: list[str] = []
    values = collect_error(errors, lambda: _read_numbers(table, columns, cell_format))
    grid = None if time is None else collect_error(errors, lambda: _read_grid(schema, table, time))
    if errors or values is None:
        raise DataError(*errors)
    steps = np.arange(len(values)) if grid is None else grid.steps
    num_steps = int(steps[-1]) + 1
    if num_steps < history + horizon:
        need = f"history {history} and horizon {horizon} of this run need" if horizon else "the history of this run is"
        raise DataError(f"input: {table.path} has {format_count(num_steps, 'row')}; {need} {history + horizon}")
    if not uses_all and (num_empty := _count_empty_rows(values)):
        last = "the last row has" if num_empty == 1 else f"the last {num_empty} rows have"
        raise DataError(f"input: {table.path}: {last} no values; remove such rows")
    first_used = 0 if uses_all else num_steps - history
    problems = _describe_gaps(table, columns, time, values, steps, first_used)
    if problems and gaps == "error":
        raise DataError(*problems, GAP_ADVICE)
    scaled = (values - schema.moments["mean"]) / np.asarray(schema.moments["std"])
    outliers = np.argwhere(np.abs(scaled) > MAX_STANDARDIZED_VALUE)
    if len(outliers):
        row, column = outliers[0].tolist()
        raise DataError(cell_messages.describe_outlier_cell(table, columns[column], np.arange(len(values)) == row))
    is_used = steps >= first_used
    used = np.full((num_steps - first_used, values.shape[1]), np.nan, np.float32)
    used[steps[is_used] - first_used] = scaled[is_used]
    return used, SeriesIndex(grid, first_used)


def check_values(table: Table, schema: SeriesSchema, history: np.ndarray) -> None:
    """Check that each column of a history has a value to interpolate from.

    Args:
        table: Table of the series.
        schema: Schema of the training series.
        history: History (T, F), NaN where a value is missing.

    Raises:
        DataError: A column has none.
    """
    is_empty = np.isnan(history).all(axis=0)
    if is_empty.any():
        name = schema.columns[int(is_empty.argmax())]
        raise DataError(f"input: {table.path}: column {name!r} has no value in the last {len(history)} rows")


def check_continuation(table: Table, index: SeriesIndex, num_steps: int, horizon: int) -> None:
    """Check that timestamps can be continued.

    Args:
        table: Table of the series.
        index: Names of its steps.
        num_steps: Number of its steps.
        horizon: Number of steps that follow.

    Raises:
        DataError: They cannot.
    """
    try:
        index.get_names(num_steps, num_steps + horizon)
    except (ValueError, OverflowError) as error:
        last = index.get_names(num_steps - 1, num_steps)[0]
        raise DataError(f"input: {table.path}: the timestamps cannot be continued after {last}: {error}") from error


def _count_empty_rows(values: np.ndarray) -> int:
    """Return the number of rows (T, C) at the end that have no values."""
    known = np.flatnonzero(~np.isnan(values).all(axis=1))
    return len(values) - (int(known[-1]) + 1 if len(known) else 0)


def _describe_gaps(
    table: Table, columns: Sequence[int], time: int | None, values: np.ndarray, steps: np.ndarray, first_used: int
) -> list[str]:
    """Describe the missing rows and values from a step on. Raises DataError if nearly all rows are missing."""
    rows: list[str] = []
    if time is not None:
        series_gaps.describe_missing_rows(table, time, steps, NO_ADVICE)
        rows = series_gaps.describe_missing_rows(table, time, steps.clip(first_used - 1), NO_ADVICE)
    used = np.where((steps >= first_used)[:, None], values, 0.0)
    return rows + series_gaps.describe_missing_values(table, columns, time, used)


def collect_error(problems: list[str], make: Callable[[], T]) -> T | None:
    """Return the result of ``make``, or None after adding the messages of its DataError to ``problems``.

    Args:
        problems: Messages of all errors.
        make: Function that may raise a DataError.
    """
    try:
        return make()
    except DataError as error:
        problems += error.problems
        return None


def _read_numbers(table: Table, columns: Sequence[int], cell_format: CellFormat) -> np.ndarray:
    """Parse columns as numbers (T, C), NaN for a missing value. Raises DataError for texts."""
    values = [cell_format.parse_numbers(table.columns[index]) for index in columns]
    problems = [
        cell_messages.describe_bad_cell(table, index, ~np.isinf(numbers), cell_format)
        for index, numbers in zip(columns, values, strict=True)
        if np.isinf(numbers).any()
    ]
    if problems:
        raise DataError(*cell_messages.join_problems(problems))
    return np.stack(values, axis=1)


def _read_grid(schema: SeriesSchema, table: Table, time: int) -> TimeGrid:
    """Read the time column, and warn if its rhythm is not that of the training rows."""
    rhythm = schema.rhythm
    grid = timestamps.read_time_grid(table, time, schema.time_format, rhythm=rhythm, advice=NO_ADVICE)
    if rhythm is not None and grid.rhythm is not None and not rhythm.is_close(grid.rhythm):
        log.warning("%s: rows are %s apart; this run was trained on rows %s apart", table.path, grid.rhythm, rhythm)
    return grid
