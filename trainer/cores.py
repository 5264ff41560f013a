"""How many processors there are to use."""

from __future__ import annotations

import os


def cores() -> int:
    """Processors this process may use; ``OMP_NUM_THREADS`` is a user's word that it should be fewer."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # no such thing on macOS
        allowed = os.cpu_count() or 1
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(said)) if said.isdecimal() and int(said) else allowed
