"""Number of available processors."""

from __future__ import annotations

import os


def count_cores() -> int:
    """Return the number of processors available to this process, at most ``OMP_NUM_THREADS`` if that is set."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(count_processors(), int(limit)) if limit.isdecimal() and int(limit) else count_processors()


def count_processors() -> int:
    """Return the number of processors available to this process, regardless of the environment."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not available on macOS
        return os.cpu_count() or 1
