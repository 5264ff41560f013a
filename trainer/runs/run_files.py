"""Files of the runs below a directory, and names next to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from trainer.runs import run_dir
from trainer.utils import atomic_write

MEMBERS_DIR = "members"
"""Folder in the directory of an ensemble with the run directories of its members."""


def find_run_files(root: Path, names: Sequence[str], folder: str = "**") -> Iterator[Path]:
    """Find files of runs below a directory.

    Temporary folders, such as one that is being removed, hold no runs, and members are parts of their ensemble.

    Args:
        root: The directory.
        names: Names of the files.
        folder: Pattern of the folders of the files, relative to the directory.
    """
    for name in names:
        for file in root.glob(f"{folder}/{name}"):
            folders = file.relative_to(root).parts[:-1]
            if not any(map(is_temporary, folders)) and not (MEMBERS_DIR in folders[:-1] and _is_member(file.parent)):
                yield file


def _is_member(path: Path) -> bool:
    """Return whether a run directory is that of a member of an ensemble."""
    return path.parent.name == MEMBERS_DIR and (path.parent.parent / run_dir.RESULTS_FILE).is_file()


def is_temporary(name: str) -> bool:
    """Return whether a file or folder of this name is removed, or replaces another one when it is complete."""
    return PurePath(name).match(atomic_write.TEMP_FILE_PATTERN)


def make_sibling_path(path: Path, suffix: str) -> Path:
    """Return the path of a directory next to that of a run, which may be named by ``.`` or a link.

    Args:
        path: The run directory.
        suffix: End of the name of the other one.

    Returns:
        The path, relative to the working directory if it is below it.
    """
    real = path.resolve()
    sibling = real.with_name(f"{real.name}{suffix}")
    return sibling.relative_to(Path.cwd()) if sibling.is_relative_to(Path.cwd()) else sibling
