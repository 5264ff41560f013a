"""How cells of text are read: which are gaps, which are numbers, and by which signs numbers are written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import islice
from typing import Any, get_args

import numpy as np

from trainer.core.types import Thousands
from trainer.data.encoding import word_splitting
from trainer.data.readers.text_file import quote_cell
from trainer.utils.errors import ConfigError

GROUP_SIGNS = {"comma": ",", "point": ".", "space": " \u00a0\u2009\u202f", "apostrophe": "'\u2019"}
MAX_MAGNITUDE = 1e100
"""Beyond, squares and their sums leave the range of float64; such a cell is a code (DBL_MAX, say), not measured."""
FLOAT_MAX = float(np.finfo(np.float32).max)
"""A number this large, to three digits, is no measurement but the usual code of rasters for nothing measured."""
MAX_SAMPLED_CELLS = 1000
"""How many different cells the guess at another way of writing numbers looks at."""

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_PADDED = re.compile(r"[+-]?0\d+", re.ASCII)
_GROUPED = re.compile(r"[+-]?[1-9]\d{,2}(?:\.\d{3})", re.ASCII)
_BELOW_1000 = re.compile(r"[+-]?(?:0|[1-9]\d{,2})", re.ASCII)
_CANONICAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)


@dataclass(frozen=True)
class CellFormat:
    """gaps: texts that stand for a gap, in lower case; one that is a number stands for every way to write it.
    comma: whether decimals follow a comma, else a point. thousands: the sign between thousands; None for none.

    A number is written in ASCII digits (a minus may be U+2212), so that codes such as ``1_10`` stay texts.
    """

    gaps: frozenset[str]
    has_decimal_comma: bool = False
    thousands: Thousands | None = None

    def __post_init__(self) -> None:
        if self.thousands == ("comma" if self.has_decimal_comma else "point"):
            raise ConfigError(f"data.thousands: {self.thousands} given, which is the decimal sign (data.decimal)")

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> CellFormat:
        """From ``missing``, ``decimal`` and perhaps ``thousands``, options of a data set."""
        gaps = frozenset(str(gap).lower() for gap in options["missing"])
        return cls(gaps, options["decimal"] == "comma", options.get("thousands") or None)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        sign = "," if self.has_decimal_comma else r"\."
        whole = r"\d+"
        if self.thousands:
            group = f"[{GROUP_SIGNS[self.thousands]}]"
            # By threes, or as in India: 12,34,567.
            whole = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|\d{{1,2}}(?:{group}\d{{2}})+{group}\d{{3}}|\d+)"
        return re.compile(rf"[+\-\u2212]?(?:{whole}(?:{sign}\d*)?|{sign}\d+)(?:[eE][+-]?\d+)?", re.ASCII)

    @cached_property
    def numeric_gaps(self) -> frozenset[float]:
        """The gaps that are numbers."""
        return frozenset(value for gap in self.gaps if (value := self._parse_value(gap)) is not None)

    def _parse_value(self, cell: str) -> float | None:
        if not self.has_decimal_comma and not self.thousands and cell.isascii() and "_" not in cell:
            # Python's own grammar is the same but for infinity and NaN, and is read in a third of the time.
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
        """The gaps that are numbers and are in no cell: nobody asks for those by default, so they are misspelled."""
        codes = {gap: value for gap in sorted(self.gaps) if (value := self._parse_value(gap)) is not None}
        found = {self._parse_value(cell) for column in columns for cell in set(column)} if codes else set()
        return [gap for gap, value in codes.items() if value not in found]

    def is_gap(self, cell: str) -> bool:
        if cell.lower() in self.gaps:
            return True
        return bool(self.numeric_gaps) and not _is_padded(cell) and self._parse_value(cell) in self.numeric_gaps

    def parse_number(self, cell: str) -> float:
        """The number in a cell: NaN for a gap, infinity for anything that is none or too large to be measured."""
        if cell.lower() in self.gaps:
            return np.nan
        value = self._parse_value(cell)
        if value is None:
            return np.inf
        if self.numeric_gaps and self.is_gap(cell):
            return np.nan
        return np.inf if is_too_large(value) else value

    def describe_non_number(self, cell: str) -> str:
        """Why a cell is no number."""
        if self.is_gap(cell):
            return f"a gap ({quote_cell(cell)})"
        value = self._parse_value(cell)
        if value is not None:
            size = (
                f"beyond {MAX_MAGNITUDE:g}, too large to compute with"
                if abs(value) > MAX_MAGNITUDE
                else "the largest of float32"
            )
            return f"{quote_cell(cell)} is {size}; is it a code for data.missing?"
        return f"{quote_cell(cell)} is not a finite number"

    def canonicalize_number(self, cell: str) -> Decimal | None:
        """The exact value of a number in its plain form: no sign but a minus, no padding, no exponent, no grouping.

        Only such labels are compared as numbers: 1 and 1.0 are one, but not 1 and 01.
        """
        plain = cell.replace(",", ".") if self.has_decimal_comma and "." not in cell else cell
        if not _CANONICAL.fullmatch(plain) or (plain.startswith("-") and not Decimal(plain)):
            return None
        return Decimal(plain)

    def normalize_cell(self, cell: str) -> str:
        """One text for all ways to write a cell: pandas writes 70 as 70.0 where the column has a gap."""
        if self.is_gap(cell):
            return ""
        value = self.canonicalize_number(cell)
        return cell if value is None else f"{value.normalize():f}"

    def parse_numbers(self, cells: Sequence[str]) -> np.ndarray:
        """(N,) float64; every different text is read once."""
        known = {cell: self.parse_number(cell) for cell in set(cells)}
        return np.fromiter(map(known.__getitem__, cells), np.float64, len(cells))

    def parse_texts(self, cells: Sequence[str]) -> np.ndarray:
        """(N,) of str, a gap as the empty text, and letters with an accent in one way, as in any text."""
        known = {cell: "" if self.is_gap(cell) else word_splitting.normalize_unicode(cell) for cell in set(cells)}
        return np.array([known[cell] for cell in cells], dtype=object)

    def parse_column(self, cells: Sequence[str]) -> np.ndarray:
        """Numbers if most cells that are not gaps are numbers and they are no codes, else texts."""
        numbers = self.parse_numbers(cells)
        most = np.isfinite(numbers).sum() > np.isinf(numbers).sum()
        return numbers if most and not self.are_codes(cells) else self.parse_texts(cells)

    def are_codes(self, cells: Iterable[str]) -> bool:
        """Whether whole numbers are filled up with zeros to one width, as zip codes are: ``01234`` beside ``98765``."""
        length, padded = None, False
        for cell in set(cells):
            if self.is_gap(cell):
                continue
            if length not in (None, len(cell)) or not _INTEGER.fullmatch(cell):
                return False
            length, padded = len(cell), padded or _is_padded(cell)
        return padded

    def find_padded_duplicates(self, cells: Iterable[str]) -> tuple[str, str] | None:
        """Two whole numbers that zeros in front alone tell apart, such as ``01`` and ``1``."""
        different = set(cells)
        padded = sorted(filter(_is_padded, different))
        whole = list(filter(_INTEGER.fullmatch, different)) if padded else []
        plain = {int(cell): cell for cell in sorted(whole, key=len, reverse=True)} if padded else {}
        return next(((cell, plain[int(cell)]) for cell in padded if plain[int(cell)] != cell), None)

    def find_mixed_decimals(self, cells: Iterable[str]) -> tuple[str, str] | None:
        """A number with three decimals, the last 0, and a whole one below 1000, where all others are of these kinds.

        No program that writes 1.020 writes 980 beside it unless the sign stands between thousands.
        """
        sign = "," if self.has_decimal_comma else "."
        grouped, whole = None, None
        for cell in dict.fromkeys(cells) if self.thousands is None else ():
            if sign in cell and _GROUPED.fullmatch(cell.replace(sign, ".")):
                grouped = grouped if grouped and grouped.endswith("0") else cell
            elif _BELOW_1000.fullmatch(cell):
                whole = whole or cell
            elif not self.is_gap(cell):
                return None
        return (grouped, whole) if grouped and whole and grouped.endswith("0") else None

    def describe_misplaced_separator(self, cell: str) -> str:
        """What the options say and make of a cell whose sign stands between thousands and not before decimals."""
        other = CellFormat(self.gaps, not self.has_decimal_comma, "comma" if self.has_decimal_comma else "point")
        return f"{self._differing_options(other)} reads it as {other.parse_number(cell):.12g}"

    def suggest_number_format(self, cells: Iterable[str]) -> str | None:
        """Whether most cells that are not gaps, and more than by this reading, are numbers by other signs: which
        options say so, and what they make of the first cell that this reading cannot read."""
        different = [cell for cell in islice(dict.fromkeys(cells), MAX_SAMPLED_CELLS) if not self.is_gap(cell)]
        unread = [cell for cell in different if self._parse_value(cell) is None]
        if not any(char.isdigit() for cell in unread for char in cell):
            return None
        counts = {
            reading: sum(reading._parse_value(cell) is not None for cell in different)
            for reading in self._alternatives()
        }
        most = max(counts.values())
        if 2 * most <= len(different) or most <= len(different) - len(unread):
            return None
        best = sorted(
            (r for r, count in counts.items() if count == most),
            key=lambda r: r.has_decimal_comma != self.has_decimal_comma,
        )
        # Without a sign between thousands wherever that reads as many cells, so that only what is needed is advised.
        simple = [
            r
            for r in best
            if not any(b.has_decimal_comma == r.has_decimal_comma and not b.thousands and b != r for b in best)
        ]
        example = next(cell for cell in unread if simple[0]._parse_value(cell) is not None)
        ways: dict[float, CellFormat] = {}
        for reading in simple:
            value = reading._parse_value(example)
            if value is not None:
                ways.setdefault(value, reading)
        advice = (f"{self._differing_options(reading)} reads it as {value:.12g}" for value, reading in ways.items())
        return f"numbers such as {quote_cell(example)}: {', '.join(advice)}"

    def _alternatives(self) -> list[CellFormat]:
        pairs = [(comma, sign) for comma in (False, True) for sign in (None, *get_args(Thousands))]
        signs = [(comma, sign) for comma, sign in pairs if sign != ("comma" if comma else "point")]
        return [
            CellFormat(self.gaps, comma, sign)
            for comma, sign in signs
            if (comma, sign) != (self.has_decimal_comma, self.thousands)
        ]

    def _differing_options(self, other: CellFormat) -> str:
        """The options of another reading that are not those of this one."""
        decimal = [f"data.decimal={'comma' if other.has_decimal_comma else 'point'}"] * (
            other.has_decimal_comma != self.has_decimal_comma
        )
        changed = other.thousands != self.thousands
        return " ".join([*decimal, *[f"data.thousands={other.thousands or 'null'}"] * changed])


def is_too_large(value: Any) -> Any:
    """Whether a number is too large to be measured, one that is no number too; arrays alike."""
    size = abs(value)
    return (abs(size / FLOAT_MAX - 1) < 1e-3) | (size > MAX_MAGNITUDE) | (size != size)


def _is_padded(cell: str) -> bool:
    """Whether a whole number has zeros in front of its digits."""
    return "0" in cell[:2] and bool(_PADDED.fullmatch(cell))
