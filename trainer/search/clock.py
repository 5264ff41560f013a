"""Time of a search, together with that of earlier commands which it continues."""

from __future__ import annotations

import time

MAIN_SHARE = 0.8
"""Share of a time budget after which no run of the search itself goes on, so that finalists get further seeds."""


class Clock:
    """Time since a search began.

    Args:
        previous: Seconds that earlier commands have used.
        limit: Budget in seconds; None for none.
    """

    def __init__(self, previous: float, limit: float | None):
        self._started_at = time.monotonic() - previous
        self.limit = limit

    @property
    def seconds(self) -> float:
        """Seconds used so far."""
        return time.monotonic() - self._started_at

    def find_deadline(self, share: float = 1.0) -> float | None:
        """Return when a share of the budget is used, by ``time.monotonic``; None without a limit.

        Args:
            share: The share.
        """
        return None if self.limit is None else self._started_at + share * self.limit
