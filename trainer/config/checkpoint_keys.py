"""Keys of checkpoints: ``keep_last``, which only applies with those that are saved at intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

INTERVAL_KEYS = ("save_every", "save_every_steps")
"""Keys that set the interval between periodic checkpoints."""


def find_checkpoint_problems(tree: Mapping[str, Any]) -> list[str]:
    """Return the problems of these keys: checkpoints to keep that are never saved.

    Those of ``keep_every`` are all kept anyway.

    Args:
        tree: Resolved configuration.
    """
    is_periodic = any(tree.get(key) is not None for key in INTERVAL_KEYS)
    if is_periodic or tree.get("keep_last") in (None, 1):
        return []
    return [f"keep_last: it has no effect without {' or '.join(INTERVAL_KEYS)}, the checkpoints of which it keeps"]
