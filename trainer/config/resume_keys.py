"""Keys of resuming: ``resume``, and ``resume_allow``, which only applies with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def names_run(tree: Mapping[str, Any]) -> bool:
    """Return whether a command line resumes the run that it names, whose other keys it keeps.

    Args:
        tree: Resolved configuration of the command line.
    """
    return tree.get("resume") not in (None, "auto")


def find_resume_problems(tree: Mapping[str, Any]) -> list[str]:
    """Return the problems of these keys: changes that are allowed without a run to change.

    Args:
        tree: Resolved configuration of a command line.
    """
    if tree.get("resume_allow") and not names_run(tree):
        return ["resume_allow: it has no effect without resume=RUN, the run to continue with changes"]
    return []
