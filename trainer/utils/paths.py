"""Descriptions of paths that do not exist."""

from __future__ import annotations

import os
from pathlib import Path


def find_nearest_dir(path: Path) -> Path:
    """Return the directory that a path names, or its nearest parent that exists."""
    try:
        whole = path.absolute()
    except FileNotFoundError:  # the working folder has been deleted
        whole = Path(os.sep, path)
    # Not Path.is_dir, which raises for a name that is too long or must not be looked at.
    return next(folder for folder in (whole, *whole.parents) if os.path.isdir(folder))


def describe_missing_path(path: Path) -> str:
    """Describe that a path does not exist and its nearest parent does, or what it is instead of a file."""
    whole, there = path.absolute(), find_nearest_dir(path)
    if there == whole:
        inside = sorted(os.listdir(whole))[:5] if os.access(whole, os.R_OK) else ["what may not be read"]
        return f"{whole} is a folder, which holds {', '.join(inside) or 'nothing'}"
    if os.path.lexists(whole):
        return f"{whole} is a file"
    return f"{whole} is not there; the nearest folder that exists is {there}"
