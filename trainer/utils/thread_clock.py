"""A clock for measurements on a machine that does other things as well."""

from __future__ import annotations

import time


def read_clock() -> float:
    """Return a time in seconds, without the time for which this thread waited for a processor.

    On a busy machine that wait, which Linux counts, would be attributed to whatever runs when it happens.
    """
    now = time.perf_counter()
    try:
        with open("/proc/thread-self/schedstat", encoding="ascii") as file:
            return now - int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return now
