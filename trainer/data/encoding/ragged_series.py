"""Standardization of series of unequal length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trainer.data.encoding.standardization import MAX_STANDARDIZED_VALUE
from trainer.utils.errors import DataError
from trainer.utils.text import format_count


def standardize_rows(
    series: Sequence[np.ndarray], scale: Mapping[str, np.ndarray], locations: Sequence[str]
) -> list[np.ndarray]:
    """Standardize series (T, F) by the mean and standard deviation (F,) of the training rows, as float32.

    Args:
        series: The series.
        scale: Mean and standard deviation.
        locations: Location of each series, for messages.

    Raises:
        DataError: A series has other dimensions, or a value far outside of the training distribution.
    """
    dims = len(scale["mean"])
    for location, row in zip(locations, series, strict=True):
        if row.shape[1] != dims:
            raise DataError(
                f"{location} has {format_count(row.shape[1], 'dimension')}; this run was trained on series with {dims}"
            )
    rows = [((row - scale["mean"]) / scale["std"]).astype(np.float32) for row in series]
    for location, row in zip(locations, rows, strict=True):
        if np.abs(row).max() > MAX_STANDARDIZED_VALUE:
            raise DataError(
                f"{location} has a value more than {MAX_STANDARDIZED_VALUE:g} standard deviations from the training"
                " mean"
            )
    return rows
