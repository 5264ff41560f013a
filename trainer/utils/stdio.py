"""Standard streams that tolerate a missing reader: after a pipe or terminal is closed, output is discarded."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any

from trainer.utils.errors import SystemFault

READER_GONE_ERRNOS = (errno.EPIPE, errno.EIO, errno.ECONNRESET)
"""Error numbers of a write to a closed pipe or terminal."""


class FaultTolerantStream(io.FileIO):
    """Raw output stream that redirects to the null device after the first failed write."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            # None: the descriptor was inherited in non-blocking mode, and its buffer is full.
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
    """Replace stdout and stderr by streams that ignore a missing reader and escape characters they cannot encode.

    Streams that were already replaced by others are left alone.

    Returns:
        The raw streams, for ``raise_write_errors``.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed; otherwise the next file that is opened would get its number
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
    """Flush the standard streams and report failed writes.

    Args:
        streams: Result of ``protect_std_streams``.

    Raises:
        SystemFault: Output could not be written for another reason than a missing reader.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for raw in streams:
        if raw.error is not None and raw.error.errno not in READER_GONE_ERRNOS:
            raise SystemFault(f"cannot print: {raw.error.strerror}")
