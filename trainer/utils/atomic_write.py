"""Atomic writes: a file is written completely or not at all, and a failed write is reported in one sentence."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainer.utils.errors import SystemFault
from trainer.utils.paths import find_nearest_dir
from trainer.utils.signals import remove_on_stop

TEMP_FILE_PATTERN = ".*.tmp*"
"""Glob pattern of temporary files that a killed process may leave."""
DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers for which the free disk space is reported."""


def make_write_error(path: Path, error: OSError) -> SystemFault:
    """Return an error that says in one sentence why a file cannot be written, with the free space of a full disk.

    Args:
        path: File that was to be written.
        error: Error of the write.
    """
    free_space = f"; {get_free_bytes(path.parent) / 1e6:.1f} MB free" if error.errno in DISK_FULL_ERRNOS else ""
    return SystemFault(f"cannot write {path}: {error.strerror or error}{free_space}")


def get_free_bytes(directory: Path) -> int:
    """Return the free bytes on the disk of a directory, or of its nearest existing parent; 0 if unknown."""
    try:
        return shutil.disk_usage(find_nearest_dir(directory)).free
    except OSError:
        return 0


@contextmanager
def catch_write_errors(path: Path) -> Iterator[None]:
    """Convert an OSError of a block that writes a file to a SystemFault.

    Args:
        path: File that the block writes.

    Raises:
        SystemFault: The block has raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise make_write_error(path, error) from error


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffix, which replaces ``path`` once it is on the disk.

    A reader never sees a partial file; after a crash, either the old or the new file exists.

    Args:
        path: File to write; its directory must exist.

    Raises:
        SystemFault: The file cannot be written.
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


@contextmanager
def create_directory(path: Path, *, replaces: bool = False) -> Iterator[Path]:
    """Yield a temporary directory that becomes ``path`` once all files in it are on the disk.

    Args:
        path: Directory to create; its parent must exist.
        replaces: Whether it replaces an existing directory; otherwise that must be empty.

    Raises:
        SystemFault: A file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    previous = path.with_name(f".{path.name}.{os.getpid()}.previous.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed process with the same number
    try:
        with catch_write_errors(path):
            temporary.mkdir()
            with remove_on_stop(temporary):
                yield temporary
            for entry in [*temporary.rglob("*"), temporary]:
                sync_to_disk(entry)
            if replaces and path.is_dir():
                os.replace(path, previous)
            os.replace(temporary, path)
            sync_to_disk(path.parent)
            shutil.rmtree(previous, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if previous.is_dir() and not path.exists():
            os.replace(previous, path)
        raise


def sync_to_disk(path: Path) -> None:
    """Flush a file or the entries of a directory to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot flush directories.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace a small text file atomically.

    Args:
        path: File to write; its directory must exist.
        text: New contents, written as UTF-8.

    Raises:
        SystemFault: The file cannot be written.
    """
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def overwrite_text(path: Path, text: str) -> None:
    """Overwrite a small file in place, for a disk without room for a second copy.

    A crash while writing leaves it truncated.

    Args:
        path: Existing file.
        text: New contents, written as UTF-8.

    Raises:
        SystemFault: The file cannot be written.
    """
    with catch_write_errors(path), open(path, "r+b") as file:
        file.write(text.encode())
        file.truncate()


def remove_leftovers(directory: Path) -> None:
    """Remove temporary files and directories that a killed process left in a directory.

    Raises:
        SystemFault: One of them cannot be removed.
    """
    for leftover in directory.glob(TEMP_FILE_PATTERN):
        with catch_write_errors(leftover):
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)
