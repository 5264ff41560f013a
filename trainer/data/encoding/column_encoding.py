"""Encoding of single columns by a schema of plain values, which is saved and applied to new rows.

Numbers are standardized, categories one-hot encoded. A missing category is a separate category; a missing number is
imputed by the mean, with an indicator column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from trainer.data.encoding.standardization import MAX_STANDARDIZED_VALUE, mean_and_scale

Column = Mapping[str, Any]
"""Encoding of one column.

``{"name", "kind": "number", "mean", "std", "decimals", "gaps"}``, where ``gaps`` adds an indicator column for missing
values, or
``{"name", "kind": "category", "categories", "other"}``, where the category ``""`` is a missing value and ``other`` adds
a column for all other categories.
"""


SIGNIFICANT_DIGITS = 7
"""Significant digits, relative to the standard deviation of a column, of decoded numbers."""
OTHER_CATEGORY = "other"
"""Name of the category for values outside of ``categories``."""
MAX_EXACT_INTEGER = 2.0**53
"""Largest integer up to which float64 is exact."""


def is_number(values: np.ndarray) -> bool:
    """Return whether a column was parsed as numbers."""
    return values.dtype == np.float64


def fit(name: str, values: np.ndarray, max_categories: int, min_count: int) -> Column:
    """Fit the encoding of a column on its training rows.

    Args:
        name: Name of the column.
        values: Cells of the training rows, (N,) float64 or text.
        max_categories: Maximum number of categories.
        min_count: Minimum number of rows of a category.
    """
    if is_number(values):
        finite_values = values[np.isfinite(values)]
        has_missing = len(finite_values) < len(values)
        mean, std = mean_and_scale(finite_values if len(finite_values) else np.zeros(1))
        return {
            "name": name,
            "kind": "number",
            "mean": mean,
            "std": std,
            "decimals": _count_decimals(finite_values, std),
            "gaps": has_missing,
        }
    # Sort by frequency, then by name, so that the order of rows does not matter.
    counts = sorted(Counter(values.tolist()).items(), key=lambda pair: (-pair[1], pair[0]))
    categories = [text for text, count in counts[:max_categories] if count >= min_count]
    return {"name": name, "kind": "category", "categories": categories, "other": len(categories) < len(counts)}


def encode(column: Column, values: np.ndarray) -> np.ndarray:
    """Encode one column as (N, width) float32. An unseen category is ``other``, or all zeros without it.

    Args:
        column: Encoding.
        values: Cells, (N,).
    """
    if column["kind"] == "number":
        is_known = np.isfinite(values)
        scaled = np.where(is_known, (np.where(is_known, values, 0.0) - column["mean"]) / column["std"], 0.0)
        return np.stack([scaled, ~is_known] if column["gaps"] else [scaled], axis=1).astype(np.float32)
    indices = index_categories(column, values)
    return encode_categories(column, np.fromiter(map(indices.__getitem__, values), np.int64, len(values)))


def index_categories(column: Column, texts: Iterable[str]) -> dict[str, int]:
    """Return the index of the category of each distinct text; that after the last category for an unseen one.

    Args:
        column: Encoding of a categorical column.
        texts: Texts.
    """
    index_by_category = {text: index for index, text in enumerate(column["categories"])}
    return {text: index_by_category.get(text, len(index_by_category)) for text in set(texts)}


def encode_categories(column: Column, index: np.ndarray) -> np.ndarray:
    """Encode a categorical column as (N, width) float32.

    Args:
        column: Encoding.
        index: Index (N,) of the category of each row, from ``index_categories``.
    """
    other_index = len(column["categories"])
    return np.eye(other_index + 1, other_index + bool(column["other"]), dtype=np.float32)[index]


def outlier_mask(column: Column, values: np.ndarray) -> np.ndarray:
    """Return a mask (N,) of numbers so far from the training rows that float32 overflows.

    Args:
        column: Encoding of a numeric column.
        values: Numbers, (N,) float64; NaN for missing values.
    """
    is_known = np.isfinite(values)
    return is_known & (
        np.abs(np.where(is_known, values, 0.0) - column["mean"]) > MAX_STANDARDIZED_VALUE * column["std"]
    )


def category_coverage(column: Column, values: np.ndarray) -> float:
    """Return the fraction of rows in a named category.

    Args:
        column: Encoding of a categorical column.
        values: Texts, (N,).
    """
    return float(np.isin(values, column["categories"]).mean())


def decode(column: Column, x: np.ndarray) -> list[float | int | str]:
    """Decode the features (N, width) of one column to cells.

    Categories are the nearest ones, numbers have as many decimals as the training rows, missing values are empty.

    Args:
        column: Encoding.
        x: Features of the column, (N, width).
    """
    if column["kind"] == "number":
        values = np.round(x[:, 0] * column["std"] + column["mean"], column["decimals"]) + 0.0  # + 0.0 removes -0
        is_integer = not column["decimals"] and bool((np.abs(values) <= MAX_EXACT_INTEGER).all())
        cells = (values.astype(np.int64) if is_integer else values).tolist()
        return (
            ["" if is_missing else cell for cell, is_missing in zip(cells, x[:, 1] > 0.5, strict=True)]
            if column["gaps"]
            else cells
        )
    names = [*column["categories"], OTHER_CATEGORY]
    return [names[index] for index in x.argmax(1)]


def output_names(column: Column) -> list[str]:
    """Return the names of the features of a column."""
    if column["kind"] == "number":
        return [column["name"], f"{column['name']} is missing"][: output_width(column)]
    return [
        f"{column['name']} = {category}" for category in [*column["categories"], OTHER_CATEGORY][: output_width(column)]
    ]


def output_width(column: Column) -> int:
    """Return the number of features of a column."""
    return 1 + column["gaps"] if column["kind"] == "number" else len(column["categories"]) + column["other"]


def _count_decimals(values: np.ndarray, std: float) -> int:
    """Count the decimals of numbers (N,), limited to ``SIGNIFICANT_DIGITS`` digits of their standard deviation."""
    max_decimals = max(0, SIGNIFICANT_DIGITS - 1 - int(np.floor(np.log10(std))))
    return next(
        (decimals for decimals in range(max_decimals) if np.array_equal(np.round(values, decimals), values)),
        max_decimals,
    )
