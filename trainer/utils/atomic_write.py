"""Atomic writes: a file is written whole or not at all, and a failing write is a fault in one sentence."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainer.utils.errors import SystemFault, nearest_folder

LEFTOVERS = ".*.tmp*"
"""What a process that was killed may leave of a file that it was writing."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def fault(path: Path, error: OSError) -> SystemFault:
    """Why a file cannot be written, in a sentence."""
    room = f"; {free_bytes(path.parent) / 1e6:.1f} MB free" if error.errno in FULL else ""
    return SystemFault(f"cannot write {path}: {error.strerror or error}{room}")


def free_bytes(folder: Path) -> int:
    """Room on the disk of a folder, or of the nearest above it that there is."""
    try:
        return shutil.disk_usage(nearest_folder(folder)).free
    except OSError:
        return 0


@contextmanager
def written(path: Path) -> Iterator[None]:
    """A block that writes a file. Raises SystemFault for what the disk or the folder refuses."""
    try:
        yield
    except OSError as error:
        raise fault(path, error) from error


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A path to write to, of the same ending; what lies there takes the name ``path`` once it is on the disk.

    A reader never sees half of a file, and after a crash there is the old one or the new one. Raises SystemFault.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        with written(path):
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems have no such thing for folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Replaces a small file in one step. Raises SystemFault where it cannot be written."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def overwrite_text(path: Path, text: str) -> None:
    """Changes a small file in the room that it has, for a disk that has none for a second one.

    A crash in between leaves it cut. Raises SystemFault where not even that can be written.
    """
    with written(path), open(path, "r+b") as file:
        file.write(text.encode())
        file.truncate()


def remove_leftovers(folder: Path) -> None:
    """Removes half-written files that a killed process left behind. Raises SystemFault where that is not allowed."""
    for leftover in folder.glob(LEFTOVERS):
        with written(leftover):
            leftover.unlink(missing_ok=True)
