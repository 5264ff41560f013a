"""Files of the runs below a directory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from trainer.utils import atomic_write


def find_run_files(root: Path, names: Sequence[str], folder: str = "**") -> Iterator[Path]:
    """Find files below a directory; temporary folders, such as one that is being removed, hold no runs.

    Args:
        root: The directory.
        names: Names of the files.
        folder: Pattern of the folders of the files, relative to the directory.
    """
    for name in names:
        for file in root.glob(f"{folder}/{name}"):
            if not any(map(is_temporary, file.relative_to(root).parts[:-1])):
                yield file


def is_temporary(name: str) -> bool:
    """Return whether a file or folder of this name is removed, or replaces another one when it is complete."""
    return PurePath(name).match(atomic_write.TEMP_FILE_PATTERN)
