"""Histories in memory, such as arrays and data frames, as tables of text cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, tzinfo
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from torch import Tensor

from trainer.data.encoding import cell_objects
from trainer.data.encoding.series_schema import SeriesSchema
from trainer.data.encoding.time_grid import SECONDS_PER_UNIT, TimeGrid
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.data_frames import ARGUMENT, is_data_frame, is_series
from trainer.data.readers.table import Table
from trainer.utils.errors import DataError
from trainer.utils.text import join_names, shorten_repr

ToTime = Callable[[TimeGrid | None, str], datetime]
"""Function from the grid of a series and a timestamp as text to the time of a step."""


class MemoryTable(Table):
    """Table of rows that are not in a file."""

    def describe_cell(self, row: int, column: int) -> str:
        """Return the location of a cell for messages.

        Args:
            row: Row index, from 0.
            column: Column position, from 0.
        """
        return f"{ARGUMENT}: row {row + 1}, column {self.names[column]!r}"


class MemorySeries(NamedTuple):
    """History in memory.

    Attributes:
        table: Its cells.
        schema: Schema by which the table is read.
        cell_format: Format of the cells.
        to_time: Function that converts timestamps back to times; None for timestamps that are texts or numbers.
    """

    table: Table
    schema: SeriesSchema
    cell_format: CellFormat
    to_time: ToTime | None


def make_series(rows: Any, schema: SeriesSchema, cell_format: CellFormat) -> MemorySeries:
    """Convert a history in memory to a table of text cells.

    Args:
        rows: Array (T, F) or (T,), data frame, mapping of columns, or list of mappings, one per step.
        schema: Schema of the training series.
        cell_format: Format of the cells of files.

    Raises:
        DataError: The rows are of another kind, or the columns differ in length.
    """
    columns, times = _split_times(rows, schema)
    own_title = [] if schema.time is None else [str(schema.name_column(schema.time))]
    cells = {name: _format_numbers(values, cell_format) for name, values in columns.items()}
    schema, to_time = replace(schema, time=None), None
    if times is not None:
        title = next(name for name in (*own_title, "time", "index", "index of the rows") if name not in cells)
        cells[title], to_time = _format_times(times)
        schema = replace(schema, time=title, time_format=None if to_time else schema.time_format)
    lengths = sorted({len(column) for column in cells.values()})
    if len(lengths) != 1 or not lengths[0]:
        found = f"columns of {join_names(map(str, lengths))} steps" if any(lengths) else "no steps"
        raise DataError(f"{ARGUMENT}: {found} given; every column must have the same number of steps, at least one")
    lines = range(1, lengths[0] + 1)
    table = MemoryTable(list(cells), list(cells.values()), lines, True, ((Path(ARGUMENT), lengths[0]),))
    return MemorySeries(table, schema, replace(cell_format, gaps=cell_format.gaps | {""}), to_time)


def _split_times(rows: Any, schema: SeriesSchema) -> tuple[dict[str, Iterable[Any]], Iterable[Any] | None]:
    """Return the cells of each column by name, without the time column, and the times, if any."""
    columns, index = _list_columns(rows, [str(schema.name_column(key)) for key in schema.columns])
    name = None if schema.time is None else str(schema.name_column(schema.time))
    if name is not None and name in columns:
        times = columns.pop(name)
        return columns, times
    return columns, index if _is_time_index(index, name) else None


def _list_columns(rows: Any, names: Sequence[str]) -> tuple[dict[str, Any], Any]:
    """Return the columns of a history by name, and its index if it is an object of pandas."""
    if is_data_frame(rows):
        return {str(name): column.to_numpy() for name, column in rows.items()}, rows.index
    if is_series(rows):
        return {names[0] if len(names) == 1 else str(rows.name): rows.to_numpy()}, rows.index
    if isinstance(rows, Mapping):
        return {str(name): _to_list(column) for name, column in rows.items()}, None
    if isinstance(rows, list | tuple) and rows and all(isinstance(row, Mapping) for row in rows):
        titles = dict.fromkeys(name for row in rows for name in row)
        return {str(name): [row.get(name) for row in rows] for name in titles}, None
    if isinstance(rows, np.ndarray | Tensor | list | tuple):
        values = _to_array(rows)
        if values.shape[1:] in ((), (len(names),)) and (values.ndim == 2 or len(names) == 1):
            return dict(zip(names, values.reshape(-1, len(names)).T, strict=True)), None
        raise DataError(
            f"{ARGUMENT}: an array of shape {values.shape} given; it must be (steps, {len(names)}), with the columns"
            f" {join_names(names)}"
        )
    raise DataError(
        f"{ARGUMENT}: a {type(rows).__name__} given; it must be an array (steps, {len(names)}), a data frame,"
        " a mapping of columns, or a list of mappings, one per step"
    )


def _to_array(rows: Any) -> np.ndarray:
    try:
        return np.asarray(rows.detach().cpu().numpy() if isinstance(rows, Tensor) else rows, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{ARGUMENT}: cannot be converted to an array of numbers: {error}") from error


def _to_list(column: Any) -> Sequence[Any]:
    if isinstance(column, str) or not isinstance(column, Iterable):
        raise DataError(
            f"{ARGUMENT}: {shorten_repr(column, 40)} given as a column; it must be a list with one cell per step"
        )
    return list(column)


def _is_time_index(index: Any, name: str | None) -> bool:
    """Return whether the index of a data frame has the times: it has their name, or consists of dates or periods."""
    if index is None:
        return False
    return (name is not None and index.name == name) or index.dtype.kind == "M" or hasattr(index, "to_timestamp")


def _format_numbers(values: Iterable[Any], cell_format: CellFormat) -> tuple[str, ...]:
    """Return numbers as text cells; missing ones are empty."""

    def format_cell(value: Any) -> str:
        if isinstance(value, str):
            return value.strip()
        if cell_objects.is_missing(value):
            return ""
        try:
            text = repr(float(value))
        except (TypeError, ValueError):
            return str(value)
        return cell_format.localize_number(text)

    return tuple(map(format_cell, values))


def _format_times(times: Any) -> tuple[tuple[str, ...], ToTime | None]:
    """Return times as text cells, and the function from cells to times if they are no texts or numbers."""
    if hasattr(times, "to_timestamp"):  # periods of pandas
        times = times.to_timestamp()
    values = list(times)
    if not values or not all(isinstance(value, date | np.datetime64) for value in values):
        return tuple(str(value).strip() for value in values), None
    if any(value != value for value in values):
        row = next(row for row, value in enumerate(values, 1) if value != value)
        raise DataError(f"{ARGUMENT}: row {row} has no time")
    dates = [_to_datetime(value) for value in values]
    return tuple(value.isoformat(timespec="microseconds") for value in dates), _make_converter(dates[0].tzinfo)


def _to_datetime(value: date | np.datetime64) -> datetime:
    moment = value.astype("datetime64[us]").item() if isinstance(value, np.datetime64) else value
    return moment if isinstance(moment, datetime) else datetime.combine(moment, time())


def _make_converter(zone: tzinfo | None) -> ToTime:
    """Return a function from timestamps as text to times in a zone: days follow its clock, hours are elapsed time."""
    named_zone = None
    if zone is not None:
        try:
            named_zone = ZoneInfo(str(zone))
        except (ValueError, KeyError, OSError):
            named_zone = None  # a fixed offset

    def convert(grid: TimeGrid | None, text: str) -> datetime:
        moment, rhythm = datetime.fromisoformat(text), None if grid is None else grid.rhythm
        if named_zone is None or rhythm is None:
            return moment
        if rhythm.unit != "second" or rhythm.step % SECONDS_PER_UNIT["day"] == 0:
            return moment.replace(tzinfo=named_zone)
        return moment.astimezone(named_zone)

    return convert
