"""Columns of text to rows of numbers, by a schema of plain values that can be kept and used again on new rows.

A number is standardised; a category is one-hot. A gap in a category is a category of its own. A gap in a number
becomes the mean, and a further column says that it was one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Column = Mapping[str, Any]
"""How one column is encoded.

``{"name", "kind": "number", "mean", "std", "decimals", "gaps"}``, where ``gaps`` says whether a column for gaps
follows, or
``{"name", "kind": "category", "categories", "other"}``, where the category ``""`` is the gap and ``other`` says
whether a column for everything else follows.
"""


DIGITS = 7
"""Of the deviation of a column of measured numbers, in which drawn ones are told."""
OTHER = "other"
"""How a category is told that has no name."""


@dataclass(frozen=True)
class Reading:
    """How a cell is read: what counts as a gap, compared in lower case, and whether decimals follow a comma."""

    gaps: frozenset[str]
    comma: bool

    def is_gap(self, cell: str) -> bool:
        return cell.lower() in self.gaps

    def number(self, cell: str) -> float:
        """The number in a cell: NaN for a gap, infinity for anything that is no finite number."""
        if self.is_gap(cell):
            return np.nan
        try:
            value = float(cell.replace(",", ".") if self.comma else cell)
        except ValueError:
            return np.inf
        return value if np.isfinite(value) else np.inf

    def numbers(self, cells: Sequence[str]) -> np.ndarray:
        """(N,) float64; every different text is read once."""
        known = {cell: self.number(cell) for cell in set(cells)}
        return np.fromiter(map(known.__getitem__, cells), np.float64, len(cells))

    def texts(self, cells: Sequence[str]) -> np.ndarray:
        """(N,) of str, a gap as the empty text."""
        known = {cell: "" if self.is_gap(cell) else cell for cell in set(cells)}
        return np.array([known[cell] for cell in cells], dtype=object)

    def values(self, cells: Sequence[str]) -> np.ndarray:
        """Numbers if most cells that are not gaps are numbers, else texts."""
        numbers = self.numbers(cells)
        return numbers if np.isfinite(numbers).sum() > np.isinf(numbers).sum() else self.texts(cells)

    def has_decimal_commas(self, cells: Sequence[str]) -> bool:
        """Whether most different texts are numbers but for a comma where this reading wants a point."""
        other, different = Reading(self.gaps, comma=True), set(cells)
        numbers = sum("," in cell and bool(np.isfinite(other.number(cell))) for cell in different)
        return not self.comma and 2 * numbers > len(different)


def is_number(values: np.ndarray) -> bool:
    """Whether a column was read as numbers."""
    return values.dtype == np.float64


def fit(name: str, values: np.ndarray, max_categories: int, min_count: int) -> Column:
    """How a column is encoded, learned from its training rows."""
    if is_number(values):
        there = values[np.isfinite(values)]
        gaps = len(there) < len(values)
        there = there if len(there) else np.zeros(1)
        number = {"mean": float(there.mean()), "std": float(there.std()) or 1.0, "decimals": _decimals(there)}
        return {"name": name, "kind": "number", **number, "gaps": gaps}
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


def coverage(column: Column, values: np.ndarray) -> float:
    """The share of rows that are of a category by name, not other."""
    return float(np.isin(values, column["categories"]).mean())


def decode(column: Column, x: np.ndarray) -> list[float | int | str]:
    """The cells that numbers (N, width) of one column stand for: the nearest category, numbers with as many decimals
    as the training rows have, the empty text for a gap."""
    if column["kind"] == "number":
        told = np.round(x[:, 0] * column["std"] + column["mean"], column["decimals"]) + 0.0  # and no -0
        cells = (told if column["decimals"] else told.astype(np.int64)).tolist()
        return (
            ["" if gap else cell for cell, gap in zip(cells, x[:, 1] > 0.5, strict=True)] if column["gaps"] else cells
        )
    names = [*column["categories"], OTHER]
    return [names[place] for place in x.argmax(1)]


def width(column: Column) -> int:
    """How many numbers stand for a cell."""
    return 1 + column["gaps"] if column["kind"] == "number" else len(column["categories"]) + column["other"]


def _decimals(values: np.ndarray) -> int:
    """How many decimals numbers (N,) have, at most so many that their deviation has ``DIGITS`` digits."""
    spread = float(values.std()) or 1.0
    most = max(0, DIGITS - 1 - int(np.floor(np.log10(spread))))
    return next((places for places in range(most) if np.array_equal(np.round(values, places), values)), most)
