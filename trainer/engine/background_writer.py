"""Writing of files in a thread while training continues."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable


class BackgroundWriter:
    """Writes one thing at a time in a thread, which exists only meanwhile.

    Compression, checksums and system calls on large blocks leave the interpreter to the training loop.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._is_prepared = threading.Event()
        self._is_prepared.set()
        # A process that is forked while another thread holds a lock would wait for it for ever.
        writer = weakref.ref(self)
        os.register_at_fork(before=lambda: _join(writer()))

    def start(self, write: Callable[[], object], prepare: Callable[[], object] | None = None) -> None:
        """Start to write, after ``finish``.

        Args:
            write: Writes the files.
            prepare: Called before, in the same thread; ``wait_until_prepared`` waits for it.
        """
        assert self._thread is None, "the previous write was not finished"

        def run() -> None:
            try:
                try:
                    if prepare is not None:
                        prepare()
                finally:
                    self._is_prepared.set()
                write()
            except BaseException as error:
                self._error = error

        self._is_prepared.clear()
        self._thread = threading.Thread(target=run, name="checkpoint")
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether the last write has not ended."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def has_ended(self) -> bool:
        """Whether the last write has ended, but ``finish`` has not been called since."""
        return self._thread is not None and not self._thread.is_alive()

    def wait_until_prepared(self) -> None:
        """Wait for ``prepare`` of the last write."""
        if not self._is_prepared.is_set():
            self._is_prepared.wait()

    def join(self) -> None:
        """Wait for the last write, whose error is still to be raised by ``finish``."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def finish(self) -> bool:
        """Wait for the last write, if there was one since the last call, and raise its error.

        Returns:
            Whether there was one.
        """
        if self._thread is None:
            return False
        self.join()
        error, self._error, self._thread = self._error, None, None
        if error is not None:
            raise error
        return True


def _join(writer: BackgroundWriter | None) -> None:
    if writer is not None:
        writer.join()
