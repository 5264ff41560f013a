"""Number of available processors, and the time for which they were used."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable


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


def read_child_cpu_seconds() -> float:
    """Return the time of the processors that the child processes of this one have used, once they have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def make_clock(*, cpu_time: bool) -> Callable[[], float]:
    """Return a function that returns the time in seconds.

    Args:
        cpu_time: Whether it is the time of the processors that this process and its ended child processes have used,
            instead of that of the monotonic clock, which other programs prolong.
    """
    return (lambda: time.process_time() + read_child_cpu_seconds()) if cpu_time else time.monotonic
