"""Times as text for people: three digits at most, with a unit."""

from __future__ import annotations


def format_seconds(seconds: float) -> str:
    """Format a time as ``320 us``, ``41 ms``, ``4.1 s``, ``12 min 5 s`` or ``2 h 5 min``.

    Args:
        seconds: The time.
    """
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{round(seconds / 60)} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"
