"""Runs of region time series in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from trainer.data.readers.data_frames import ARGUMENT, is_data_frame
from trainer.data.readers.region_tables import RegionTable
from trainer.utils.errors import DataError


def to_tables(rows: Any) -> list[RegionTable]:
    """Convert runs in memory to tables.

    Args:
        rows: Array or data frame (T, N) of one run, or a list or array (R, T, N) of them.

    Raises:
        DataError: They are of another kind, or have values that are not finite.
    """
    if not (isinstance(rows, np.ndarray | Tensor | list | tuple) or is_data_frame(rows)) or not len(rows):
        raise DataError(
            f"{ARGUMENT}: {type(rows).__name__} without runs given; they must be an array or data frame (steps,"
            " regions), or a list of them"
        )
    if is_data_frame(rows) or (isinstance(rows, np.ndarray | Tensor) and rows.ndim == 2):
        rows = [rows]
    return [_to_table(run, f"{ARGUMENT}: run {number}") for number, run in enumerate(rows, 1)]


def _to_table(run: Any, place: str) -> RegionTable:
    names = [str(name) for name in run.columns] if is_data_frame(run) else None
    try:
        values = np.asarray(run.detach().cpu() if isinstance(run, Tensor) else run, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{place} is not an array of numbers: {error}") from error
    if values.ndim != 2 or not values.size:
        raise DataError(f"{place} has the shape {values.shape}; it must be (steps, regions)")
    if not np.isfinite(values).all():
        step, region = np.argwhere(~np.isfinite(values))[0] + 1
        raise DataError(f"{place}: step {step}, region {region} is missing or not finite")
    return RegionTable(Path(place), values, names)
