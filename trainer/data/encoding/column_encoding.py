"""Columns of text to rows of numbers, by a schema of plain values that can be kept and used again on new rows.

A number is standardised; a category is one-hot. A gap in a category is a category of its own. A gap in a number
becomes the mean, and a further column says that it was one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer.data.encoding.standardization import MAX_STANDARDIZED_VALUE, mean_and_scale

Column = Mapping[str, Any]
"""How one column is encoded.

``{"name", "kind": "number", "mean", "std", "decimals", "gaps"}``, where ``gaps`` says whether a column for gaps
follows, or
``{"name", "kind": "category", "categories", "other"}``, where the category ``""`` is the gap and ``other`` says
whether a column for everything else follows.
"""


SIGNIFICANT_DIGITS = 7
"""Of the deviation of a column of measured numbers, in which drawn ones are told."""
OTHER_CATEGORY = "other"
"""How a category is told that has no name."""
MAX_EXACT_INTEGER = 2.0**53
"""Up to which float64 holds every whole number."""


def is_number(values: np.ndarray) -> bool:
    """Whether a column was read as numbers."""
    return values.dtype == np.float64


def fit(name: str, values: np.ndarray, max_categories: int, min_count: int) -> Column:
    """How a column is encoded, learned from its training rows."""
    if is_number(values):
        there = values[np.isfinite(values)]
        gaps = len(there) < len(values)
        mean, std = mean_and_scale(there if len(there) else np.zeros(1))
        return {
            "name": name,
            "kind": "number",
            "mean": mean,
            "std": std,
            "decimals": _count_decimals(there, std),
            "gaps": gaps,
        }
    # Most frequent first, and by name among equals, so that the order of rows changes nothing.
    counts = sorted(Counter(values.tolist()).items(), key=lambda pair: (-pair[1], pair[0]))
    kept = [text for text, count in counts[:max_categories] if count >= min_count]
    return {"name": name, "kind": "category", "categories": kept, "other": len(kept) < len(counts)}


def encode(column: Column, values: np.ndarray) -> np.ndarray:
    """The numbers (N, width) of one column, float32. A category never seen is other, or nothing."""
    if column["kind"] == "number":
        there = np.isfinite(values)
        scaled = np.where(there, (np.where(there, values, 0.0) - column["mean"]) / column["std"], 0.0)
        return np.stack([scaled, ~there] if column["gaps"] else [scaled], axis=1).astype(np.float32)
    places = {text: place for place, text in enumerate(column["categories"])}
    rest = len(places)
    index = np.fromiter((places.get(text, rest) for text in values), np.int64, len(values))
    return np.eye(rest + 1, rest + bool(column["other"]), dtype=np.float32)[index]


def outlier_mask(column: Column, values: np.ndarray) -> np.ndarray:
    """Which numbers (N,) lie so far from the training rows that nothing can be computed from them, (N,) bool."""
    there = np.isfinite(values)
    return there & (np.abs(np.where(there, values, 0.0) - column["mean"]) > MAX_STANDARDIZED_VALUE * column["std"])


def category_coverage(column: Column, values: np.ndarray) -> float:
    """The share of rows that are of a category by name, not other."""
    return float(np.isin(values, column["categories"]).mean())


def decode(column: Column, x: np.ndarray) -> list[float | int | str]:
    """The cells that numbers (N, width) of one column stand for: the nearest category, numbers with as many decimals
    as the training rows have, the empty text for a gap."""
    if column["kind"] == "number":
        told = np.round(x[:, 0] * column["std"] + column["mean"], column["decimals"]) + 0.0  # and no -0
        whole = not column["decimals"] and bool((np.abs(told) <= MAX_EXACT_INTEGER).all())
        cells = (told.astype(np.int64) if whole else told).tolist()
        return (
            ["" if gap else cell for cell, gap in zip(cells, x[:, 1] > 0.5, strict=True)] if column["gaps"] else cells
        )
    names = [*column["categories"], OTHER_CATEGORY]
    return [names[place] for place in x.argmax(1)]


def output_names(column: Column) -> list[str]:
    """What each of the numbers is called that stand for a cell."""
    if column["kind"] == "number":
        return [column["name"], f"{column['name']} is missing"][: output_width(column)]
    return [
        f"{column['name']} = {category}" for category in [*column["categories"], OTHER_CATEGORY][: output_width(column)]
    ]


def output_width(column: Column) -> int:
    """How many numbers stand for a cell."""
    return 1 + column["gaps"] if column["kind"] == "number" else len(column["categories"]) + column["other"]


def _count_decimals(values: np.ndarray, spread: float) -> int:
    """How many decimals numbers (N,) have, at most so many that their deviation has ``SIGNIFICANT_DIGITS`` digits."""
    most = max(0, SIGNIFICANT_DIGITS - 1 - int(np.floor(np.log10(spread))))
    return next((places for places in range(most) if np.array_equal(np.round(values, places), values)), most)
