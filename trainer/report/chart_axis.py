"""Axes of charts: from values to coordinates, with ticks at round numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

NUM_TICKS = 5
"""About the number of ticks of an axis."""
NUM_DIGITS, MAX_DIGITS = 4, 12
"""Number of significant digits of the labels, and of those of ticks that are nearer to each other than that."""
MAX_ROUNDING = 0.01
"""Largest difference between a tick and its label, in units of the distance between ticks."""


@dataclass(frozen=True)
class Axis:
    """Scale of an axis.

    Args:
        low: Value at its start.
        high: Value at its end.
        start: Coordinate of its start.
        end: Coordinate of its end.
        ticks: Values with a label.
        is_log: Whether it is logarithmic.
        names: Names of the positions 0, 1, ..., for values that are no numbers.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    is_log: bool = False
    names: Sequence[str] = ()

    @classmethod
    def make(
        cls, values: Sequence[float], start: float, end: float, *, is_log: bool = False, names: Sequence[str] = ()
    ) -> Axis:
        """Return the axis of values, with ticks at round numbers or, for positions with names, at each of them.

        Args:
            values: Finite values, positive on a logarithmic axis.
            start: Coordinate of its start.
            end: Coordinate of its end.
            is_log: Whether it is logarithmic.
            names: Names of the positions.
        """
        from matplotlib.ticker import LogLocator, MaxNLocator

        if names:
            return cls(-0.5, len(names) - 0.5, start, end, [*range(len(names))], names=names)
        low, high = min(values), max(values)
        if low == high:
            margin = abs(low) * 0.1 or 1.0
            low, high = (low / 2, high * 2) if is_log else (low - margin, high + margin)
        is_log = is_log and low > 0 and high / low > 10  # less than a decade has too few round numbers on such an axis
        locator = LogLocator(numticks=NUM_TICKS) if is_log else MaxNLocator(NUM_TICKS, steps=[1, 2, 2.5, 5, 10])
        ticks = [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high]
        return cls(low, high, start, end, ticks, is_log)

    def place(self, value: float) -> float:
        """Return the coordinate of a value."""
        low, high, number = (self.low, self.high, value)
        if self.is_log:
            low, high, number = math.log(low), math.log(high), math.log(number)
        return self.start + (number - low) / (high - low) * (self.end - self.start)

    def format(self, tick: float) -> str:
        """Return the label of a tick."""
        if self.names:
            return self.names[int(tick)]
        return format_tick(tick, self._num_digits) if self._num_decimals is None else f"{tick:.{self._num_decimals}f}"

    @cached_property
    def _num_decimals(self) -> int | None:
        """Number of decimals of all labels, as ``0.90`` beside ``0.92``; None if some are written otherwise."""
        labels = [format_tick(tick, self._num_digits) for tick in self.ticks]
        if self.is_log or not all(label.lstrip("-").replace(".", "", 1).isdecimal() for label in labels):
            return None
        return max((len(label.partition(".")[2]) for label in labels), default=0)

    @cached_property
    def _num_digits(self) -> int:
        """Number of significant digits by which the ticks are told apart, and look evenly spaced."""
        gaps = [second - first for first, second in itertools.pairwise(self.ticks)]
        limit = MAX_ROUNDING * min(gaps, default=math.inf)
        enough = (
            digits
            for digits in range(NUM_DIGITS, MAX_DIGITS)
            if all(abs(float(f"{tick:.{digits}g}") - tick) <= limit for tick in self.ticks)
        )
        return next(enough, MAX_DIGITS)


def format_tick(value: float, num_digits: int = NUM_DIGITS) -> str:
    """Format a round number briefly: ``20k`` for 20,000.

    Args:
        value: The number.
        num_digits: Number of significant digits.
    """
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 10 or (abs(value) >= factor and suffix != "k"):
            return f"{value / factor:.{num_digits}g}{suffix}"
    return f"{value:.{num_digits}g}"
