"""Conversion of Python objects to the text cells that a table in a file would have."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np

from trainer.data.encoding.column_encoding import Column
from trainer.data.readers.cell_parsing import CellFormat
from trainer.utils.errors import DataError
from trainer.utils.text import shorten_repr

NUMERIC_KINDS = "iuf"
"""Kinds of NumPy dtypes whose texts need no choice in a column of numbers."""


def format_texts(values: Iterable[Any]) -> tuple[str, ...]:
    """Return the cells of a column that is not encoded, such as an identifier."""
    return tuple("" if is_missing(value) else str(value) for value in values)


def format_column(values: Iterable[Any], column: Column, cell_format: CellFormat, label: str) -> tuple[str, ...]:
    """Return the cells of a column; None, NaN, NaT and NA are empty.

    A value with several usual spellings, such as ``True`` and ``true``, 1 and 1.0, or a date with and without time,
    gets the one that is a category of the column.

    Args:
        values: Cells: texts, numbers, dates, or NumPy scalars.
        column: Encoding of the column.
        cell_format: Format of the cells.
        label: Location of the column, for messages.

    Raises:
        DataError: A cell is not a single value.
    """
    is_number = column["kind"] == "number"
    if is_number and isinstance(values, np.ndarray) and values.dtype.kind in NUMERIC_KINDS:
        texts = values.astype(str).tolist()
        missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)
        for row in np.flatnonzero(missing).tolist():
            texts[row] = ""
        return tuple(map(cell_format.localize_number, texts))
    categories: Collection[str] = () if is_number else set(column["categories"])
    known: dict[tuple[type, Any], str] = {}
    cells = []
    for row, value in enumerate(values):
        key = (type(value), value) if isinstance(value, str | int | float | bool) else None
        cell = known.get(key) if key is not None else None
        if cell is None:
            cell = _format_cell(value, categories, cell_format, f"{label}: row {row + 1}", is_number=is_number)
            if key is not None:
                known[key] = cell
        cells.append(cell)
    return tuple(cells)


def _format_cell(
    value: Any, categories: Collection[str], cell_format: CellFormat, location: str, *, is_number: bool
) -> str:
    if is_missing(value):
        return ""
    spellings = _list_spellings(value, location)
    if is_number:
        text = str(int(value)) if isinstance(value, bool | np.bool_) else spellings[0]
        return text if isinstance(value, str) else cell_format.localize_number(text)
    return next((text for text in spellings if text in categories), spellings[0])


def is_missing(value: Any) -> bool:
    """Return whether a cell is None, NaN, NaT, or the NA of pandas, which has no truth value."""
    if value is None:
        return True
    if isinstance(value, str | int):
        return False
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"


def _list_spellings(value: Any, location: str) -> Sequence[str]:
    """Return the usual spellings of a value in a file, the one of pandas first."""
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    elif isinstance(value, np.generic):
        # A float32 has the digits that identify it, not those of the nearest float64.
        value = float(str(value)) if isinstance(value, np.floating) else value.item()
    match value:
        case str():
            return (value.strip(),)
        case bool():
            return (str(value), str(value).lower(), str(value).upper(), str(int(value)))
        case int():
            return (str(value), f"{value}.0")
        case float():
            return (repr(value), str(int(value))) if math.isfinite(value) and value == int(value) else (repr(value),)
        case datetime():
            texts = (str(value), value.isoformat())
            has_time = value.timetz().replace(tzinfo=None) != time()
            return texts if has_time else (value.date().isoformat(), *texts)
        case date() | Decimal():
            return (str(value),)
        case bytes() | Mapping() | Sequence() | np.ndarray():
            raise DataError(f"{location}: {shorten_repr(value, 40)} is not a text, number or date")
    return (str(value),)
