"""Forecasts as a table with one row per predicted step."""

from __future__ import annotations

from typing import TypeGuard

import numpy as np

from trainer.core import prediction as predictions
from trainer.core.dataset_info import DatasetInfo
from trainer.core.prediction import Prediction
from trainer.core.prediction_columns import Column, make_series_columns
from trainer.core.split import Split
from trainer.data.splits.windows import WindowSplit

SCALED_FIELDS = ("value", "lower", "upper", "target")
"""Fields that are scaled like the targets, in the order of their columns."""


def make_table(prediction: Prediction, split: Split, info: DatasetInfo, first: int) -> dict[str, Column]:
    """Return the columns of a table with one row per window and step.

    The columns that identify a row come first: those of the window, such as ``origin``, then ``step`` from 1 and the
    name of the step, such as ``time``. The forecast of each series has its name, or ``value_NAME`` if another column is
    named so; its bounds are ``lower_NAME`` and ``upper_NAME``, its target ``target_NAME``. If there is one series, they
    are ``lower``, ``upper`` and ``target``.

    Args:
        prediction: Predictions (K, P, ...) of K windows, with ``value`` (K, P, F).
        split: Split of the windows.
        info: Info of the data set, with names and units of the series.
        first: Number of the first window, for splits that name rows by number.
    """
    num_windows, horizon = prediction["value"].shape[:2]
    columns = {title: np.repeat(_to_array(names), horizon) for title, names in split.get_output_columns(first).items()}
    columns["step"] = np.tile(np.arange(1, horizon + 1), num_windows)
    if isinstance(split, WindowSplit):
        columns |= {title: names.ravel() for title, names in split.get_target_columns().items()}
    table: dict[str, Column] = dict(columns)
    for field in SCALED_FIELDS:
        if field in prediction:
            numbers = predictions.unscale(prediction[field], info.target).reshape(num_windows * horizon, -1)
            table |= make_series_columns(field, numbers, info.target.channel_names, table)
    others = {name: values for name, values in prediction.items() if name not in SCALED_FIELDS}
    for name, cells in predictions.decode(others, info).items():
        values = _to_array(cells)
        is_per_step = values.shape[:2] == (num_windows, horizon)
        table[name] = values.reshape(-1, *values.shape[2:]) if is_per_step else values.repeat(horizon, axis=0)
    return {name: cells.tolist() if _is_object(cells) else cells for name, cells in table.items()}


def _is_object(cells: Column) -> TypeGuard[np.ndarray]:
    return isinstance(cells, np.ndarray) and cells.dtype == object


def _to_array(cells: Column) -> np.ndarray:
    """Return cells as an array whose first dimension is that of the rows."""
    if isinstance(cells, np.ndarray):
        return cells
    array = np.empty(len(cells), dtype=object)
    array[:] = list(cells)
    return array
