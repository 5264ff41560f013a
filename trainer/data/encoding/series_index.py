"""Names of the steps of a series: timestamps, or row numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trainer.data.encoding.time_grid import TimeGrid


@dataclass(frozen=True)
class SeriesIndex:
    """Names of the steps of a series, or of a part of it.

    Attributes:
        grid: Timestamps; None for row numbers from 1.
        first: Step of the grid, or row index, of the first step of the part.
        to_time: Function from a timestamp as text to the name of a step; None keeps the text.
    """

    grid: TimeGrid | None = None
    first: int = 0
    to_time: Callable[[str], Any] | None = None

    @property
    def title(self) -> str:
        return "row" if self.grid is None else "time"

    def shift(self, count: int) -> SeriesIndex:
        """Return the index of the part of the series that begins some steps later."""
        return replace(self, first=self.first + count)

    def get_names(self, start: int, stop: int) -> np.ndarray:
        """Return the names of consecutive steps, also of those after the end of the series.

        Args:
            start: First step.
            stop: Step after the last one.

        Raises:
            ValueError: The series has a single timestamp, which cannot be continued.
        """
        start, stop = start + self.first, stop + self.first
        if self.grid is None:
            return np.arange(start + 1, stop + 1)
        cells = self.grid.name_steps(start, stop)
        names = np.empty(len(cells), dtype=object)
        names[:] = cells if self.to_time is None else list(map(self.to_time, cells))
        return names


ROW_NUMBERS = SeriesIndex()
