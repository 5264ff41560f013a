"""Paths in command lines, and descriptions of paths that do not exist."""

from __future__ import annotations

import os
import re
from itertools import chain, count
from pathlib import Path

from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean

_KEY_PATTERN = re.compile(r"[+~]*\w[\w.]*", re.ASCII)


def is_path_argument(word: str) -> bool:
    """Return whether an argument is a path rather than ``key=value``: directories of sweep jobs are named by values."""
    key, equals, _ = word.partition("=")
    return not equals or not _KEY_PATTERN.fullmatch(key) or os.path.isdir(word)


def find_nearest_dir(path: Path) -> Path:
    """Return a directory itself if it exists, or else its nearest existing parent."""
    try:
        absolute = path.absolute()
    except FileNotFoundError:  # the working directory has been deleted
        absolute = Path(os.sep, path)
    # Not Path.is_dir, which raises for names that are too long or not accessible.
    return next(directory for directory in (absolute, *absolute.parents) if os.path.isdir(directory))


def describe_missing_path(path: Path) -> str:
    """Return a clause that names the nearest existing parent of a missing path, or says what the path is instead.

    Args:
        path: Path at which a file or directory was expected.
    """
    absolute, nearest = path.absolute(), find_nearest_dir(path)
    if nearest == absolute:
        names = os.listdir(absolute) if os.access(absolute, os.R_OK) else ["entries that cannot be read"]
        entries = sorted(name for name in names if not name.startswith("."))[:5]
        return f"{absolute} is a directory, which contains {', '.join(entries) or 'nothing'}"
    if os.path.islink(absolute) and not os.path.exists(absolute):
        return f"{absolute} is a link to {os.readlink(absolute)}, which leads to nothing"
    if os.path.lexists(absolute):
        return f"{absolute} is a file"
    return f"{absolute} does not exist; the nearest directory that exists is {nearest}"


def missing_file_error(path: str | Path, key: str = "path") -> DataError:
    """Return the error for a missing file, with its absolute path and a similar name.

    Args:
        path: Missing path.
        key: Option named in the message.
    """
    absolute = Path(os.path.abspath(Path(path).expanduser()))
    parent = find_nearest_dir(absolute.parent)
    missing_name = absolute.relative_to(parent).parts[0]
    suggestion = did_you_mean(missing_name, sorted(os.listdir(parent))) if os.access(parent, os.R_OK) else ""
    nearest = "" if parent == absolute.parent else f"; the nearest directory that exists is {parent}"
    return DataError(f"{key}: {absolute} does not exist{nearest}{suggestion}")


def is_read(file: Path, source: Path) -> bool:
    """Return whether a file that exists is one that is read, or is in a folder that is read.

    Args:
        file: The file.
        source: File or folder that is read.
    """
    source = source.expanduser()
    if not file.exists() or not source.exists():
        return False
    return any(path.samefile(source) for path in (file, *file.resolve().parents))


def find_unused_path(path: Path) -> Path:
    """Return the path, or the first of ``name-2``, ``name-3``, ... that does not exist."""
    names = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    return next(name for name in chain((path,), names) if not name.exists())
