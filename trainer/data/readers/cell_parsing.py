"""Parsing of table cells: missing values, numbers and number formats."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.data.encoding import word_splitting
from trainer.data.readers.text_file import quote_cell
from trainer.utils.errors import DataError

if TYPE_CHECKING:
    from trainer.core.types import Thousands

GROUP_SIGNS: Mapping[Thousands, str] = {
    "comma": ",",
    "point": ".",
    "space": " \u00a0\u2009\u202f",
    "apostrophe": "'\u2019",
}
MAX_MAGNITUDE = 1e100
"""Beyond it, sums of squares overflow float64; such a cell is a code (e.g. DBL_MAX) rather than a measurement."""
FLOAT_MAX = float(np.finfo(np.float32).max)
"""A number equal to it in three digits is the usual no-data code of rasters rather than a measurement."""
MAX_SAMPLED_CELLS = 1000
"""Maximum number of distinct cells for number format detection."""

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_PADDED = re.compile(r"[+-]?0\d+", re.ASCII)
_GROUPED = re.compile(r"[+-]?[1-9]\d{,2}(?:\.\d{3})", re.ASCII)
_BELOW_1000 = re.compile(r"[+-]?(?:0|[1-9]\d{,2})", re.ASCII)
_CANONICAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)


@dataclass(frozen=True)
class CellFormat:
    """Format of table cells.

    Numbers have ASCII digits (a minus may be U+2212), so that codes such as ``1_10`` stay texts.

    Args:
        gaps: Lowercase texts of missing values; a numeric one matches every spelling of its value.
        has_decimal_comma: Whether the decimal sign is a comma instead of a point.
        thousands: Thousands separator; None for none.
    """

    gaps: frozenset[str]
    has_decimal_comma: bool = False
    thousands: Thousands | None = None

    def __post_init__(self) -> None:
        if self.thousands == ("comma" if self.has_decimal_comma else "point"):
            raise DataError(f"thousands: {self.thousands} given, which is the decimal sign (data.decimal)")

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> CellFormat:
        """Create a format from the data set options ``missing``, ``decimal`` and optionally ``thousands``."""
        gaps = frozenset(str(gap).lower() for gap in options["missing"])
        return cls(gaps, options["decimal"] == "comma", options.get("thousands") or None)

    def to_options(self) -> dict[str, Any]:
        """Return the options that ``from_options`` takes, as values of JSON."""
        decimal = "comma" if self.has_decimal_comma else "point"
        return {"missing": sorted(self.gaps), "decimal": decimal, "thousands": self.thousands}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        sign = "," if self.has_decimal_comma else r"\."
        integer = r"\d+"
        if self.thousands:
            group = f"[{GROUP_SIGNS[self.thousands]}]"
            # Groups of three digits, or Indian grouping: 12,34,567.
            integer = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|\d{{1,2}}(?:{group}\d{{2}})+{group}\d{{3}}|\d+)"
        return re.compile(rf"[+\-\u2212]?(?:{integer}(?:{sign}\d*)?|{sign}\d+)(?:[eE][+-]?\d+)?", re.ASCII)

    @cached_property
    def numeric_gaps(self) -> frozenset[float]:
        """Missing-value codes that are numbers."""
        return frozenset(value for gap in self.gaps if (value := self._parse_value(gap)) is not None)

    def _parse_value(self, cell: str) -> float | None:
        if not self.has_decimal_comma and not self.thousands and cell.isascii() and "_" not in cell:
            # The grammar of float() is the same except for infinity and NaN, and three times as fast.
            try:
                value = float(cell)
            except ValueError:
                return None
            if math.isfinite(value):
                return value
        if not self._pattern.fullmatch(cell):
            return None
        for sign in GROUP_SIGNS[self.thousands] if self.thousands else "":
            cell = cell.replace(sign, "")
        if self.has_decimal_comma:
            cell = cell.replace(",", ".")
        return float(cell if cell.isascii() else cell.replace("\u2212", "-"))

    def absent_numeric_gaps(self, columns: Iterable[Sequence[str]]) -> list[str]:
        """Return the numeric missing-value codes that occur in no cell: none is a default, so they may be typos."""
        codes = {gap: value for gap in sorted(self.gaps) if (value := self._parse_value(gap)) is not None}
        cell_values = {self._parse_value(cell) for column in columns for cell in set(column)} if codes else set()
        return [gap for gap, value in codes.items() if value not in cell_values]

    def is_gap(self, cell: str) -> bool:
        if cell.lower() in self.gaps:
            return True
        return bool(self.numeric_gaps) and not _is_padded(cell) and self._parse_value(cell) in self.numeric_gaps

    def parse_number(self, cell: str) -> float:
        """Parse a number: NaN for a missing value, infinity for a text or an implausibly large number."""
        if cell.lower() in self.gaps:
            return np.nan
        value = self._parse_value(cell)
        if value is None:
            return np.inf
        if self.numeric_gaps and self.is_gap(cell):
            return np.nan
        return np.inf if is_too_large(value) else value

    def describe_non_number(self, cell: str) -> str:
        """Describe why a cell is not a number."""
        if self.is_gap(cell):
            return f"missing value ({quote_cell(cell)})"
        value = self._parse_value(cell)
        if value is not None:
            description = (
                f"beyond {MAX_MAGNITUDE:g}, too large to compute with"
                if abs(value) > MAX_MAGNITUDE
                else "the largest of float32"
            )
            return f"{quote_cell(cell)} is {description}; is it a code for data.missing?"
        return f"{quote_cell(cell)} is not a finite number"

    def canonicalize_number(self, cell: str) -> Decimal | None:
        """Return the exact value of a plain number: no plus sign, padding, exponent or grouping; None for others.

        Only such labels are compared as numbers: 1 equals 1.0, but not 01.
        """
        normalized = cell.replace(",", ".") if self.has_decimal_comma and "." not in cell else cell
        if not _CANONICAL.fullmatch(normalized) or (normalized.startswith("-") and not Decimal(normalized)):
            return None
        return Decimal(normalized)

    def normalize_cell(self, cell: str) -> str:
        """Return a canonical spelling of a cell: pandas writes 70 as 70.0 where the column has a missing value."""
        if self.is_gap(cell):
            return ""
        value = self.canonicalize_number(cell)
        return cell if value is None else f"{value.normalize():f}"

    def localize_number(self, text: str) -> str:
        """Return the text of a Python number with the decimal sign of this format."""
        return text.replace(".", ",") if self.has_decimal_comma else text

    def parse_numbers(self, cells: Sequence[str]) -> np.ndarray:
        """Parse cells as numbers (N,) float64; every distinct text is parsed once."""
        distinct = list(set(cells))
        values = self._parse_plain_numbers(distinct) or map(self.parse_number, distinct)
        numbers = dict(zip(distinct, values, strict=True))
        return np.fromiter(map(numbers.__getitem__, cells), np.float64, len(cells))

    def _parse_plain_numbers(self, cells: Sequence[str]) -> list[float] | None:
        """Parse cells as ``parse_number`` does, ten times as fast; None unless all are plain numbers."""
        joined = "".join(cells)
        if self.has_decimal_comma or self.thousands or self.numeric_gaps or "_" in joined or not joined.isascii():
            return None
        try:
            values = list(map(float, cells))
        except ValueError:
            return None
        return None if is_too_large(np.array(values)).any() else values

    def parse_texts(self, cells: Sequence[str]) -> np.ndarray:
        """Parse cells as texts (N,), NFC-normalized; a missing value is empty."""
        texts = self.parse_distinct_texts(cells)
        return np.array([texts[cell] for cell in cells], dtype=object)

    def parse_distinct_texts(self, cells: Iterable[str]) -> dict[str, str]:
        """Return the text of each distinct cell, NFC-normalized; a missing value is empty."""
        return {cell: "" if self.is_gap(cell) else word_splitting.normalize_unicode(cell) for cell in set(cells)}

    def parse_column(self, cells: Sequence[str]) -> np.ndarray:
        """Parse cells as numbers if most non-missing ones are numbers but not codes, else as texts."""
        numbers = self.parse_numbers(cells)
        most = np.isfinite(numbers).sum() > np.isinf(numbers).sum()
        return numbers if most and not self.are_codes(cells) else self.parse_texts(cells)

    def are_codes(self, cells: Iterable[str]) -> bool:
        """Return whether integers are zero-padded to one width, such as the zip codes ``01234`` and ``98765``."""
        length, padded = None, False
        for cell in set(cells):
            if self.is_gap(cell):
                continue
            if length not in (None, len(cell)) or not _INTEGER.fullmatch(cell):
                return False
            length, padded = len(cell), padded or _is_padded(cell)
        return padded

    def find_padded_duplicates(self, cells: Iterable[str]) -> tuple[str, str] | None:
        """Return two integers that differ in leading zeros only, such as ``01`` and ``1``, or None."""
        distinct = set(cells)
        padded = sorted(filter(_is_padded, distinct))
        integers = list(filter(_INTEGER.fullmatch, distinct)) if padded else []
        plain = {int(cell): cell for cell in sorted(integers, key=len, reverse=True)} if padded else {}
        return next(((cell, plain[int(cell)]) for cell in padded if plain[int(cell)] != cell), None)

    def find_mixed_decimals(self, cells: Iterable[str]) -> tuple[str, str] | None:
        """Return a number with three decimals, the last 0, and an integer below 1000, if all others are of these kinds.

        A program that writes 1.020 and 980 in one column uses the sign as thousands separator.
        """
        sign = "," if self.has_decimal_comma else "."
        grouped, integer = None, None
        for cell in dict.fromkeys(cells) if self.thousands is None else ():
            if sign in cell and _GROUPED.fullmatch(cell.replace(sign, ".")):
                grouped = grouped if grouped and grouped.endswith("0") else cell
            elif _BELOW_1000.fullmatch(cell):
                integer = integer or cell
            elif not self.is_gap(cell):
                return None
        return (grouped, integer) if grouped and integer and grouped.endswith("0") else None

    def describe_misplaced_separator(self, cell: str) -> str:
        """Describe the options for, and the value of, a cell whose sign is a thousands separator."""
        other = CellFormat(self.gaps, not self.has_decimal_comma, "comma" if self.has_decimal_comma else "point")
        return f"{self._differing_options(other)} reads it as {other.parse_number(cell):.12g}"

    def suggest_number_format(self, cells: Iterable[str]) -> str | None:
        """Suggest the options of a number format that fits more cells, and most of the non-missing ones.

        Returns the options with their value of the first cell that this format cannot parse, or None.
        """
        distinct = [cell for cell in islice(dict.fromkeys(cells), MAX_SAMPLED_CELLS) if not self.is_gap(cell)]
        unparsed = [cell for cell in distinct if self._parse_value(cell) is None]
        if not any(char.isdigit() for cell in unparsed for char in cell):
            return None
        counts = {
            cell_format: sum(cell_format._parse_value(cell) is not None for cell in distinct)
            for cell_format in self._alternatives()
        }
        most = max(counts.values())
        if 2 * most <= len(distinct) or most <= len(distinct) - len(unparsed):
            return None
        best = sorted(
            (r for r, count in counts.items() if count == most),
            key=lambda r: r.has_decimal_comma != self.has_decimal_comma,
        )
        # Prefer formats without thousands separator where they fit as many cells, to suggest only necessary options.
        candidates = [
            r
            for r in best
            if not any(b.has_decimal_comma == r.has_decimal_comma and not b.thousands and b != r for b in best)
        ]
        example = next(cell for cell in unparsed if candidates[0]._parse_value(cell) is not None)
        by_value: dict[float, CellFormat] = {}
        for cell_format in candidates:
            value = cell_format._parse_value(example)
            if value is not None:
                by_value.setdefault(value, cell_format)
        advice = (
            f"{self._differing_options(cell_format)} reads it as {value:.12g}"
            for value, cell_format in by_value.items()
        )
        return f"numbers such as {quote_cell(example)}: {', '.join(advice)}"

    def _alternatives(self) -> list[CellFormat]:
        pairs = [(comma, sign) for comma in (False, True) for sign in (None, *GROUP_SIGNS)]
        signs = [(comma, sign) for comma, sign in pairs if sign != ("comma" if comma else "point")]
        return [
            CellFormat(self.gaps, comma, sign)
            for comma, sign in signs
            if (comma, sign) != (self.has_decimal_comma, self.thousands)
        ]

    def _differing_options(self, other: CellFormat) -> str:
        """Return the options of another format that differ from this one."""
        decimal = [f"data.decimal={'comma' if other.has_decimal_comma else 'point'}"] * (
            other.has_decimal_comma != self.has_decimal_comma
        )
        changed = other.thousands != self.thousands
        return " ".join([*decimal, *[f"data.thousands={other.thousands or 'null'}"] * changed])


def is_too_large(value: Any) -> Any:
    """Return whether a number is implausibly large or NaN; also for arrays."""
    size = abs(value)
    return (abs(size / FLOAT_MAX - 1) < 1e-3) | (size > MAX_MAGNITUDE) | (size != size)


def _is_padded(cell: str) -> bool:
    """Return whether an integer has leading zeros."""
    return "0" in cell[:2] and bool(_PADDED.fullmatch(cell))
