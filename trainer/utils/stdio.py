"""Standard streams that survive their readers: after a closed pipe or terminal, output goes to the null device."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any

from trainer.utils.errors import SystemFault

READER_GONE_ERRNOS = (errno.EPIPE, errno.EIO, errno.ECONNRESET)
"""Errors of a write without a reader: a closed pipe, a closed terminal."""


class FaultTolerantStream(io.FileIO):
    """Raw output stream that redirects to the null device after the first failed write."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            # None: whoever handed the descriptor down has it refuse at once what its reader has no room for yet.
            while (num_bytes := super().write(data)) is None:
                self._wait_for_room()
            return num_bytes
        except OSError as error:
            self.error = error
            null_device = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null_device, self.fileno())
            os.close(null_device)
            return memoryview(data).nbytes

    def _wait_for_room(self) -> None:
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        poll.poll()


def protect_std_streams() -> list[FaultTolerantStream]:
    """Replace stdout and stderr by streams that ignore a missing reader and escape what they cannot encode.

    Streams that somebody else has replaced are left alone.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed; left so, it would be the number of the next file that is opened
            os.open(os.devnull, os.O_RDWR)
    raw_streams = []
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):
            continue
        raw = FaultTolerantStream(descriptor, "w", closefd=False)
        encoding, line_buffering = (stream.encoding, stream.line_buffering) if stream else ("utf-8", True)
        wrapped = io.TextIOWrapper(
            io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=line_buffering
        )
        setattr(sys, name, wrapped)
        raw_streams.append(raw)
    return raw_streams


def raise_write_errors(streams: list[FaultTolerantStream]) -> None:
    """Raise SystemFault if output could not be written for another reason than a missing reader."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for raw in streams:
        if raw.error is not None and raw.error.errno not in READER_GONE_ERRNOS:
            raise SystemFault(f"cannot print: {raw.error.strerror}")
