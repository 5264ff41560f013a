"""Signals set a flag; the loop looks at it between batches, saves, and leaves with 128 + the signal's number."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from trainer.utils.errors import Interrupted
from trainer.utils.text import printable

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""Signals that ask a run to stop; SIGHUP is what a terminal sends that is closed.

They often go to a whole process group, but are for the main process to answer.
"""
ECHO = 1.0
"""Seconds within which a signal that comes again is the same request: sent to a group, and passed on by a parent.

Not Ctrl-C twice, which nobody passes on as such: pressed twice it is meant.
"""
STDERR = 2
PR_SET_PDEATHSIG = 1
"""Number of an option in Linux' sys/prctl.h."""

Handler = Callable[[int, FrameType | None], None]


class Flag:
    """Which signal asked the run to stop, if any.

    Before ``wait_for_check`` is called there is nothing to save, and a signal stops the run where it is: a download
    or a slow import need not be waited for. Afterwards it is noted, and ``check`` raises at the next safe moment.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.waits = False
        self._came = 0.0
        self._checkpoint = ""
        self._last_words = b""

    def print_on_exit(self, checkpoint: Path, command: str) -> None:
        """Has a process that leaves at once say how to go on, if that checkpoint is there by then.

        Made ready now: a handler may come in the middle of a print, so it writes bytes past all buffers.
        """
        self._checkpoint = str(checkpoint)
        self._last_words = printable(f"\nstopped at once; go on with: {command}\n").encode("utf-8", "backslashreplace")

    def catch(self, number: int, frame: FrameType | None) -> None:
        """The handler. A second signal leaves at once, with the files as they are."""
        is_ctrl_c_twice = self.number == number == signal.SIGINT
        if self.number is not None and not is_ctrl_c_twice and time.monotonic() - self._came < ECHO:
            return
        if self.number is not None:
            if self._last_words and os.path.exists(self._checkpoint):
                with suppress(OSError):  # nobody reads any more
                    os.write(STDERR, self._last_words)
            os._exit(128 + answered(number))
        self.number, self._came = number, time.monotonic()
        if not self.waits:
            self.check()

    def wait_for_check(self) -> None:
        self.waits = True

    def stop_at_once(self) -> None:
        """From here on nothing is lost by a stop; one that has come is answered now. Raises Interrupted."""
        self.waits = False
        self.check()

    def check(self) -> None:
        """Raises Interrupted if a signal has come."""
        if self.number is None:
            return
        raise Interrupted(f"stopped by {signal.Signals(self.number).name}", answered(self.number))


@contextmanager
def prefer_interrupt(flag: Flag) -> Iterator[None]:
    """A block that a signal ends as Interrupted, also where a library took the exception for a fault of its own."""
    try:
        yield
    except Exception as error:
        if not flag.waits and not isinstance(error, Interrupted):
            flag.check()
        raise


def answered(number: int) -> int:
    """A scheduler's early warning (SIGUSR1) is answered like the SIGTERM it announces."""
    return signal.SIGTERM if number == signal.SIGUSR1 else number


@contextmanager
def handled(handler: Handler, numbers: Sequence[signal.Signals] = STOPPING) -> Iterator[None]:
    """A block in which signals go to a handler; the main thread's alone, as Python has it.

    SIGHUP stays ignored where it is, as nohup asks.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    deaf = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
    before = {number: signal.signal(number, handler) for number in numbers if number not in deaf}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


@contextmanager
def caught() -> Iterator[Flag]:
    """A block in which the signals that ask to stop set the flag it is given."""
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


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """Has the kernel send this process a signal when its parent ends, however it ends.

    ``parent``: the parent's number, known before this process was born. Nothing happens where there is no Linux.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return
    prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it has ended in the meantime
        os.kill(os.getpid(), number)


def named(number: int) -> str:
    """A signal for a message: ``signal 9 (SIGKILL): often out of memory``."""
    try:
        name = f" ({signal.Signals(number).name})"
    except ValueError:
        name = ""
    often = {signal.SIGKILL: ": often out of memory", signal.SIGBUS: ": often out of shared memory"}
    return f"signal {number}{name}{often.get(number, '')}"  # type: ignore[call-overload]
