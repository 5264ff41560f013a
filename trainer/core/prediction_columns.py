"""Titles and cells of the columns of predictions.

It imports no torch, because ``predict.py`` of an export writes the same columns without it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

Column = Sequence[Any] | np.ndarray
"""Cells of a column."""


def make_probability_columns(probabilities: np.ndarray, class_names: Sequence[Any]) -> dict[str, Column]:
    """Return the column ``p_CLASS`` of each class.

    Args:
        probabilities: Probabilities (K, C, ...).
        class_names: Names of the C classes.
    """
    return {f"p_{name}": probabilities[:, index] for index, name in enumerate(class_names)}


def make_class_set_column(members: np.ndarray, class_names: Sequence[Any]) -> dict[str, Column]:
    """Return the column ``set``, with names such as ``a|b``.

    Args:
        members: Whether each class is in the set (K, C), bool.
        class_names: Names of the C classes.
    """
    return {"set": ["|".join(str(class_names[index]) for index in np.flatnonzero(row).tolist()) for row in members]}


def make_number_columns(field: str, numbers: np.ndarray, names: Sequence[Any]) -> dict[str, Column]:
    """Return the column of a field or, for several numbers per row, ``FIELD_NAME`` of each.

    Args:
        field: Name of the field, such as ``value``.
        numbers: Numbers (K,) or (K, ..., F) in the original units.
        names: Names of the F numbers; they are numbered if these are not as many.
    """
    if numbers.ndim == 1 or numbers.shape[-1] == 1:
        return {field: numbers[..., 0] if numbers.ndim > 1 else numbers}
    width = numbers.shape[-1]
    known_names = names if len(names) == width else range(width)
    return {f"{field}_{name}": numbers[..., index] for index, name in enumerate(known_names)}


def make_series_columns(
    field: str, numbers: np.ndarray, names: Sequence[Any], taken: Collection[str]
) -> dict[str, Column]:
    """Return the columns of a forecast: values have the name of their series, as in its file.

    Args:
        field: Name of the field, such as ``value``; other fields have titles as in ``make_number_columns``.
        numbers: Numbers (K, F) in the original units.
        names: Names of the F series.
        taken: Titles of other columns; a series that is named so gets ``FIELD_NAME``.
    """
    columns = make_number_columns(field, numbers, names)
    if field == "value" and len(names) == numbers.shape[1]:
        columns = {str(name): numbers[:, index] for index, name in enumerate(names)}
    return {f"{field}_{title}" if title in taken else title: cells for title, cells in columns.items()}


def join_identifiers(identifiers: Mapping[str, Column], predictions: Mapping[str, Column]) -> dict[str, Column]:
    """Return the columns that identify rows, followed by those of predictions.

    An identifier with the title of a prediction, as in a table of labels to be predicted again, gets another one.

    Args:
        identifiers: Cells of each identifying column, by title.
        predictions: Cells of each column of predictions, by title.
    """
    named = {f"{title} (input)" if title in predictions else title: cells for title, cells in identifiers.items()}
    return {**named, **predictions}


def unscale(scaled: np.ndarray, mean: float | Sequence[float], scale: float | Sequence[float]) -> np.ndarray:
    """Convert scaled numbers (K, ...) to the original units, in float64.

    Args:
        scaled: The numbers.
        mean: Number that was subtracted, or one for each entry of the last dimension.
        scale: Divisor, or one for each entry of the last dimension.
    """
    numbers: np.ndarray = scaled.astype(np.float64) * np.asarray(scale) + np.asarray(mean)
    return numbers
