"""Keys of checkpoints: ``keep_last``, which only applies with those that are saved at intervals."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

INTERVAL_KEYS = ("save_every", "save_every_steps")
"""Keys that set the interval between periodic checkpoints."""


def find_ineffective_keys(tree: Mapping[str, Any], keys: Collection[str]) -> list[str]:
    """Return the problem of ``keep_last`` if the checkpoints that it keeps are never saved.

    Those of ``keep_every`` are all kept anyway.

    Args:
        tree: Resolved configuration.
        keys: Keys that the command line sets; a YAML file may set others than are needed here.
    """
    is_periodic = any(tree.get(key) is not None for key in INTERVAL_KEYS)
    if "keep_last" not in keys or is_periodic or tree.get("keep_last") in (None, 1):
        return []
    return [f"keep_last: it has no effect without {' or '.join(INTERVAL_KEYS)}, the checkpoints of which it keeps"]
