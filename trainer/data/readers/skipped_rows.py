"""Rows of a file that are left out because they cannot be read."""

from __future__ import annotations

import logging
from bisect import insort
from typing import Literal

from trainer.utils.errors import DataError
from trainer.utils.text import format_count

MAX_DESCRIBED = 5
"""Maximum number of rows that are described."""
OnError = Literal["error", "skip"]
"""What is done about rows or files that cannot be read."""
SKIP_HINT = "on_error=skip leaves these rows out"
"""Remedy for rows of a file that cannot be read."""
log = logging.getLogger(__name__)


def drop_skip_hint(message: str) -> str:
    """Return a message without the lines about ``on_error=skip``, for a reader who has no such option.

    Args:
        message: Message of an error.
    """
    return "\n".join(line for line in message.splitlines() if not line.startswith("on_error=skip "))


class SkippedRows:
    """Number of the rows of a file that are left out, and descriptions of the first ones."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[tuple[int, str]] = []

    def add(self, number: int, problem: str) -> None:
        """Add a row.

        Args:
            number: Number of the row in its file, by which the descriptions are sorted.
            problem: Location of the row and what is wrong.
        """
        self.count += 1
        insort(self._first, (number, problem))
        del self._first[MAX_DESCRIBED:]

    def describe(self) -> list[str]:
        """Return one line for each of the first rows, and one with the number of the others."""
        lines = [problem for _, problem in self._first]
        remaining = self.count - len(lines)
        return [*lines, *([f"and {format_count(remaining, 'more row')}"] if remaining else [])]

    def report(self, num_used: int) -> None:
        """Log the rows, if there are any.

        Args:
            num_used: Number of rows that were used.

        Raises:
            DataError: All rows were left out.
        """
        if self.count and not num_used:
            raise DataError(f"input: no row is left; the first problem: {self._first[0][1]}")
        self.log_warnings()

    def log_warnings(self) -> None:
        """Log the rows, if there are any."""
        for line in self.describe():
            log.warning("left out: %s", line)
