"""Keys of resuming: ``resume``, and ``resume_allow``, which only applies with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def find_resume_problems(tree: Mapping[str, Any]) -> list[str]:
    """Return the problems of these keys: changes that are allowed without a run to change.

    Args:
        tree: Resolved configuration of a command line.
    """
    if tree.get("resume_allow") and tree.get("resume") in (None, "auto"):
        return ["resume_allow: it has no effect without resume=RUN, the run to continue with changes"]
    return []
