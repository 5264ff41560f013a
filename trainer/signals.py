"""Signals set a flag; the loop looks at it between batches, saves, and leaves with 128 + the signal's number."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from trainer.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Signals that ask a run to stop. They often go to a whole process group, but are for the main process to answer."""

Handler = Callable[[int, FrameType | None], None]


class Flag:
    """Which signal asked the run to stop, if any.

    Before ``wait_for_check`` is called there is nothing to save, and a signal stops the run where it is: a download
    or a slow import need not be waited for. Afterwards it is noted, and ``check`` raises at the next safe moment.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.waits = False

    def catch(self, number: int, frame: FrameType | None) -> None:
        """The handler. A second signal leaves at once, with the files as they are."""
        if self.number is not None:
            os._exit(128 + number)
        self.number = number
        if not self.waits:
            self.check()

    def wait_for_check(self) -> None:
        self.waits = True

    def check(self) -> None:
        """Raises Interrupted if a signal has come."""
        if self.number is None:
            return
        # A scheduler's early warning (SIGUSR1) is answered like the SIGTERM it announces.
        number = signal.SIGTERM if self.number == signal.SIGUSR1 else self.number
        raise Interrupted(f"stopped by {signal.Signals(self.number).name}", number)


@contextmanager
def handled(handler: Handler, numbers: Sequence[signal.Signals] = STOPPING) -> Iterator[None]:
    """A block in which signals go to a handler; the main thread's alone, as Python has it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


@contextmanager
def caught() -> Iterator[Flag]:
    """A block in which SIGINT, SIGTERM and SIGUSR1 set the flag it is given."""
    flag = Flag()
    with handled(flag.catch):
        yield flag


@contextmanager
def leaving() -> Iterator[None]:
    """A block in which Ctrl-C ends the process at once, until a run or a sweep catches it: nothing is begun to be lost.

    A KeyboardInterrupt lands anywhere: during imports in a C extension that turns it into an ImportError, or in a
    callback that prints it and goes on.
    """

    def leave(number: int, _: object) -> None:
        with suppress(RuntimeError, OSError, ValueError):  # in the middle of a write, or nobody reads any more
            sys.stdout.flush()
        os._exit(128 + number)

    with handled(leave, (signal.SIGINT,)):
        yield


@contextmanager
def held() -> Iterator[None]:
    """A block in which the signals wait, so that none meets a child process that is not yet out of their way."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
