"""How many processors there are to use."""

from __future__ import annotations

import os


def count_cores() -> int:
    """Processors this process may use; ``OMP_NUM_THREADS`` is a user's word that it should be fewer."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(count_processors(), int(said)) if said.isdecimal() and int(said) else count_processors()


def count_processors() -> int:
    """Processors this process may use, whatever the environment says."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # no such thing on macOS
        return os.cpu_count() or 1
