"""Columns of predictions as arrays of NumPy and pyarrow."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.core.prediction_columns import Column
from trainer.utils.errors import ConfigError


def make_arrow_array(name: str, column: Column, kind: Any = None) -> Any:
    """Return a column as an array of pyarrow, of a given type or else an inferred one.

    Args:
        name: Title of the column, for messages.
        column: Cells.
        kind: Type of the array; None infers it, as text if there are only missing values.

    Raises:
        ConfigError: A cell is not of this type.
    """
    import pyarrow

    is_flat = isinstance(column, np.ndarray) and column.ndim == 1
    cells = column if is_flat else [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in column]
    try:
        array = pyarrow.array(cells, type=kind)
    except (pyarrow.ArrowException, OverflowError) as error:
        raise ConfigError(f"output: cells of {name!r} differ in type ({error}); use .jsonl") from None
    return array.cast(pyarrow.string()) if pyarrow.types.is_null(array.type) else array


def make_numpy_array(name: str, column: Column) -> np.ndarray:
    """Return a column as an array of numbers or texts.

    Args:
        name: Title of the column, for messages.
        column: Cells.

    Raises:
        ConfigError: Cells of several values differ in length.
    """
    if isinstance(column, np.ndarray) and column.dtype.kind != "O":
        return column
    cells = list(column)
    if any(isinstance(cell, str) for cell in cells):
        return np.array(["" if cell is None else str(cell) for cell in cells])
    try:
        array = np.array([np.nan if cell is None else cell for cell in cells])
    except ValueError:
        raise make_ragged_error(name) from None
    if array.dtype.kind == "O":
        raise make_ragged_error(name)
    return array


def make_ragged_error(name: str) -> ConfigError:
    """Return the error for a column (by title) whose cells differ in length."""
    return ConfigError(f"output: cells of {name!r} differ in length, which .npz cannot hold; use .jsonl or .parquet")
