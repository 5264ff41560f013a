"""Series of unequal length in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.data.readers.data_frames import ARGUMENT, is_data_frame
from trainer.utils.errors import DataError


def to_series(rows: Any) -> list[Tensor]:
    """Convert series in memory to tensors (T, F) float64; NaN at the end of a series is padding.

    Args:
        rows: List of series (T,) or (T, F), array (N, T) or (N, T, F), or data frame with one series per row.

    Raises:
        DataError: They are of another kind, empty, or have values that are not finite.
    """
    if is_data_frame(rows):
        rows = rows.to_numpy()
    if isinstance(rows, Tensor):
        rows = rows.detach().cpu().numpy()
    if isinstance(rows, str | Mapping) or not isinstance(rows, np.ndarray | list | tuple) or not len(rows):
        raise DataError(
            f"{ARGUMENT}: {type(rows).__name__} without series given; they must be a list of series (T,) or"
            " (T, F), or an array (N, T) or (N, T, F)"
        )
    return [_to_series(row, number) for number, row in enumerate(rows, 1)]


def _to_series(row: Any, number: int) -> Tensor:
    place = f"{ARGUMENT}: series {number}"
    try:
        values = np.asarray(row.detach().cpu() if isinstance(row, Tensor) else row, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{place} is not an array of numbers: {error}") from error
    if values.ndim not in (1, 2):
        raise DataError(f"{place} has the shape {values.shape}; it must be (T,) or (T, F)")
    values = values[:, None] if values.ndim == 1 else values
    steps = np.flatnonzero(~np.isnan(values).all(axis=1))
    values = values[: steps[-1] + 1 if len(steps) else 0]
    if not values.size:
        raise DataError(f"{place} is empty")
    if not np.isfinite(values).all():
        step, dimension = np.argwhere(~np.isfinite(values))[0] + 1
        raise DataError(f"{place}: step {step}, dimension {dimension} is missing or not finite")
    return torch.from_numpy(values)
