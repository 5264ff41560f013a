"""Files that exactly one of several processes creates, also on different machines with a shared folder."""

from __future__ import annotations

import errno
import os
import uuid
from contextlib import suppress
from pathlib import Path

from trainer.utils.atomic_write import catch_write_errors

NO_LINK_ERRNOS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""Errors of file systems without hard links."""


def create_exclusive(path: Path, text: str) -> bool:
    """Create a file with its contents unless it exists; return whether this process has created it.

    A hard link is created by one process alone on every version of NFS, and the file is complete from the beginning;
    locks of ``flock`` are local to a machine on some file systems.

    Args:
        path: File to create; its directory must exist.
        text: Contents, written as UTF-8.

    Raises:
        SystemFault: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with catch_write_errors(path):
        try:
            with open(temporary, "x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            return _link(temporary, path)
        except OSError as error:
            if error.errno not in NO_LINK_ERRNOS:
                raise
            return _create_without_link(path, text)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _link(temporary: Path, path: Path) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        # The reply of a server that has created the link may be lost, and the request repeated.
        return os.stat(temporary).st_nlink == 2
    return True


def _create_without_link(path: Path, text: str) -> bool:
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
