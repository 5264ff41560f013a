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
from trainer.utils.text import escape_control_chars

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""Signals that ask a run to stop; SIGHUP is what a terminal sends that is closed.

They often go to a whole process group, but are for the main process to answer.
"""
REPEAT_WINDOW_SECONDS = 1.0
"""Seconds within which a signal that comes again is the same request: sent to a group, and passed on by a parent.

Not Ctrl-C twice, which nobody passes on as such: pressed twice it is meant.
"""
STDERR_FD = 2
PR_SET_PDEATHSIG = 1
"""Number of an option in Linux' sys/prctl.h."""

Handler = Callable[[int, FrameType | None], None]


class StopFlag:
    """Which signal asked the run to stop, if any.

    Before ``defer_stop`` is called there is nothing to save, and a signal stops the run where it is: a download
    or a slow import need not be waited for. Afterwards it is noted, and ``check`` raises at the next safe moment.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.is_deferred = False
        self._received_at = 0.0
        self._checkpoint = ""
        self._exit_message = b""

    def print_on_exit(self, checkpoint: Path, command: str) -> None:
        """Has a process that leaves at once say how to go on, if that checkpoint is there by then.

        Made ready now: a handler may come in the middle of a print, so it writes bytes past all buffers.
        """
        self._checkpoint = str(checkpoint)
        self._exit_message = escape_control_chars(f"\nstopped at once; go on with: {command}\n").encode(
            "utf-8", "backslashreplace"
        )

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """The handler. A second signal leaves at once, with the files as they are."""
        is_ctrl_c_twice = self.signal_number == number == signal.SIGINT
        if (
            self.signal_number is not None
            and not is_ctrl_c_twice
            and time.monotonic() - self._received_at < REPEAT_WINDOW_SECONDS
        ):
            return
        if self.signal_number is not None:
            if self._exit_message and os.path.exists(self._checkpoint):
                with suppress(OSError):  # nobody reads any more
                    os.write(STDERR_FD, self._exit_message)
            os._exit(128 + resolve_signal(number))
        self.signal_number, self._received_at = number, time.monotonic()
        if not self.is_deferred:
            self.raise_if_stopped()

    def defer_stop(self) -> None:
        self.is_deferred = True

    def stop_immediately(self) -> None:
        """From here on nothing is lost by a stop; one that has come is answered now. Raises Interrupted."""
        self.is_deferred = False
        self.raise_if_stopped()

    def raise_if_stopped(self) -> None:
        """Raises Interrupted if a signal has come."""
        if self.signal_number is None:
            return
        raise Interrupted(f"stopped by {signal.Signals(self.signal_number).name}", resolve_signal(self.signal_number))


@contextmanager
def prefer_interrupt(flag: StopFlag) -> Iterator[None]:
    """A block that a signal ends as Interrupted, also where a library took the exception for a fault of its own."""
    try:
        yield
    except Exception as error:
        if not flag.is_deferred and not isinstance(error, Interrupted):
            flag.raise_if_stopped()
        raise


def resolve_signal(number: int) -> int:
    """A scheduler's early warning (SIGUSR1) is answered like the SIGTERM it announces."""
    return signal.SIGTERM if number == signal.SIGUSR1 else number


@contextmanager
def signal_handler(handler: Handler, numbers: Sequence[signal.Signals] = STOP_SIGNALS) -> Iterator[None]:
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
def capture_signals() -> Iterator[StopFlag]:
    """A block in which the signals that ask to stop set the flag it is given."""
    flag = StopFlag()
    with signal_handler(flag.on_signal):
        yield flag


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """A block in which Ctrl-C ends the process at once, until a run or a sweep catches it: nothing is begun to be lost.

    A KeyboardInterrupt lands anywhere: during imports in a C extension that turns it into an ImportError, or in a
    callback that prints it and goes on.
    """

    def leave(number: int, _: object) -> None:
        with suppress(RuntimeError, OSError, ValueError):  # in the middle of a write, or nobody reads any more
            sys.stdout.flush()
        os._exit(128 + number)

    with signal_handler(leave, (signal.SIGINT,)):
        yield


@contextmanager
def block_signals() -> Iterator[None]:
    """A block in which the signals wait, so that none meets a child process that is not yet out of their way."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
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


def describe_signal(number: int) -> str:
    """A signal for a message: ``signal 9 (SIGKILL): often out of memory``."""
    try:
        name = f" ({signal.Signals(number).name})"
    except ValueError:
        name = ""
    often: dict[int, str] = {signal.SIGKILL: ": often out of memory", signal.SIGBUS: ": often out of shared memory"}
    return f"signal {number}{name}{often.get(number, '')}"
