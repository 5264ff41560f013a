"""Number of processors that may be used."""

from __future__ import annotations

import os


def count_cores() -> int:
    """Return the number of processors this process may use; ``OMP_NUM_THREADS`` may lower it."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(count_processors(), int(limit)) if limit.isdecimal() and int(limit) else count_processors()


def count_processors() -> int:
    """Return the number of processors this process may use, regardless of the environment."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # no such thing on macOS
        return os.cpu_count() or 1
