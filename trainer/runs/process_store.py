"""Temporary directory of the store by which the processes of a run on one machine find each other."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

LOCK_FILE = "lock"
MIN_STALE_SECONDS = 60.0
"""Age from which an unlocked directory is one of a process that has ended, and not of one that is about to lock it."""


@contextmanager
def create_store_dir() -> Iterator[Path]:
    """Yield a new temporary directory, which is removed after the block, and remove those of killed processes.

    It is locked by this process, however that ends: a process id may belong to another container.
    """
    remove_stale_dirs()
    folder = Path(tempfile.mkdtemp(prefix=_make_prefix()))
    lock: IO[bytes] | None = None
    try:
        lock = open(folder / LOCK_FILE, "wb")  # noqa: SIM115
        # A child's copy of the descriptor would hold the lock for as long as the child lives.
        os.register_at_fork(after_in_child=lock.close)
        with suppress(OSError):  # a file system without locks, on which no directory is removed by others
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            lock.close()


def remove_stale_dirs() -> None:
    """Remove the directories that processes of this user have left that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_make_prefix()}*"):
        with suppress(OSError):  # another process has just removed it
            status = folder.lstat()
            is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
            if is_own and time.time() - status.st_mtime > MIN_STALE_SECONDS and not _is_locked(folder):
                shutil.rmtree(folder)


def _is_locked(folder: Path) -> bool:
    """Return whether a living process holds the lock of a directory; one without a lock file counts as locked."""
    with (folder / LOCK_FILE).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _make_prefix() -> str:
    # Another machine, whose locks this one does not see, may have the same temporary directory.
    return f"train-{os.getuid()}-{platform.node()}-store-"
