"""Descriptions of paths that do not exist."""

from __future__ import annotations

import os
from pathlib import Path


def find_nearest_dir(path: Path) -> Path:
    """Return the directory that a path names, or its nearest parent that exists."""
    try:
        absolute = path.absolute()
    except FileNotFoundError:  # the working folder has been deleted
        absolute = Path(os.sep, path)
    # Not Path.is_dir, which raises for a name that is too long or must not be looked at.
    return next(directory for directory in (absolute, *absolute.parents) if os.path.isdir(directory))


def describe_missing_path(path: Path) -> str:
    """Describe that a path does not exist and its nearest parent does, or what it is instead of a file."""
    absolute, nearest = path.absolute(), find_nearest_dir(path)
    if nearest == absolute:
        entries = sorted(os.listdir(absolute))[:5] if os.access(absolute, os.R_OK) else ["what may not be read"]
        return f"{absolute} is a folder, which holds {', '.join(entries) or 'nothing'}"
    if os.path.lexists(absolute):
        return f"{absolute} is a file"
    return f"{absolute} is not there; the nearest folder that exists is {nearest}"
