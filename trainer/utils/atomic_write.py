"""Atomic writes: a file is written whole or not at all, and a failing write is a fault in one sentence."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainer.utils.errors import SystemFault, find_nearest_dir

TEMP_FILE_PATTERN = ".*.tmp*"
"""What a process that was killed may leave of a file that it was writing."""
DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def make_write_error(path: Path, error: OSError) -> SystemFault:
    """Why a file cannot be written, in a sentence."""
    room = f"; {get_free_bytes(path.parent) / 1e6:.1f} MB free" if error.errno in DISK_FULL_ERRNOS else ""
    return SystemFault(f"cannot write {path}: {error.strerror or error}{room}")


def get_free_bytes(folder: Path) -> int:
    """Room on the disk of a folder, or of the nearest above it that there is."""
    try:
        return shutil.disk_usage(find_nearest_dir(folder)).free
    except OSError:
        return 0


@contextmanager
def catch_write_errors(path: Path) -> Iterator[None]:
    """A block that writes a file. Raises SystemFault for what the disk or the folder refuses."""
    try:
        yield
    except OSError as error:
        raise make_write_error(path, error) from error


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A path to write to, of the same ending; what lies there takes the name ``path`` once it is on the disk.

    A reader never sees half of a file, and after a crash there is the old one or the new one. Raises SystemFault.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        with catch_write_errors(path):
            yield temporary
            sync_to_disk(temporary)
            os.replace(temporary, path)
            sync_to_disk(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def sync_to_disk(path: Path) -> None:
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
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def overwrite_text(path: Path, text: str) -> None:
    """Changes a small file in the room that it has, for a disk that has none for a second one.

    A crash in between leaves it cut. Raises SystemFault where not even that can be written.
    """
    with catch_write_errors(path), open(path, "r+b") as file:
        file.write(text.encode())
        file.truncate()


def remove_leftovers(folder: Path) -> None:
    """Removes half-written files that a killed process left behind. Raises SystemFault where that is not allowed."""
    for leftover in folder.glob(TEMP_FILE_PATTERN):
        with catch_write_errors(leftover):
            leftover.unlink(missing_ok=True)
