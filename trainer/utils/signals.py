"""Signal handling: signals set a flag, the loop checks it between batches, saves, and exits with 128 + the signal."""

from __future__ import annotations

import os
import shutil
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
"""Signals that request a stop; a closed terminal sends SIGHUP.

They often reach a whole process group, but only the main process handles them.
"""
REPEAT_WINDOW_SECONDS = 1.0
"""Seconds within which a repeated signal counts as the same request: sent to a group, and passed on by a parent.

Ctrl-C pressed twice is an exception: no parent passes it on, so it is intended.
"""
STDERR_FD = 2
PR_SET_PDEATHSIG = 1
"""Option of prctl(2), from Linux' sys/prctl.h."""

Handler = Callable[[int, FrameType | None], None]


class StopFlag:
    """Flag that records which signal requested a stop, if any.

    Before ``defer_stop`` there is nothing to save, and a signal stops the run at once, even during a download or a slow
    import. Afterwards the request is recorded, and ``raise_if_stopped`` raises at the next safe point.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.is_deferred = False
        self._received_at = 0.0
        self._checkpoint = ""
        self._exit_message = b""
        self._temporary_dirs: list[Path] = []

    def print_on_exit(self, checkpoint: Path, command: str) -> None:
        """Print how to resume when the process exits at once, provided that the checkpoint exists by then.

        The message is encoded now: a handler may interrupt a print, so it writes bytes directly to the descriptor.

        Args:
            checkpoint: File without which there is nothing to resume.
            command: Command that resumes the run.
        """
        self._checkpoint = str(checkpoint)
        self._exit_message = escape_control_chars(f"\nstopped at once; resume with: {command}\n").encode(
            "utf-8", "backslashreplace"
        )

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first one requests a stop, a second one exits at once without saving.

        Args:
            number: Number of the signal.
            frame: Required by the interface of signal handlers; ignored.
        """
        is_ctrl_c_twice = self.signal_number == number == signal.SIGINT
        if (
            self.signal_number is not None
            and not is_ctrl_c_twice
            and time.monotonic() - self._received_at < REPEAT_WINDOW_SECONDS
        ):
            return
        if self.signal_number is not None:
            if self._exit_message and os.path.exists(self._checkpoint):
                with suppress(OSError):  # the reader is gone
                    os.write(STDERR_FD, self._exit_message)
            for path in self._temporary_dirs:
                shutil.rmtree(path, ignore_errors=True)
            os._exit(128 + resolve_signal(number))
        self.signal_number, self._received_at = number, time.monotonic()
        if not self.is_deferred:
            self.raise_if_stopped()

    @contextmanager
    def remove_on_exit(self, path: Path) -> Iterator[None]:
        """Remove a temporary directory if a second signal ends the process within the block.

        Args:
            path: The directory.
        """
        self._temporary_dirs.append(path)
        try:
            yield
        finally:
            self._temporary_dirs.remove(path)

    def defer_stop(self) -> None:
        """Only record signals from now on, until ``raise_if_stopped``."""
        self.is_deferred = True

    def stop_immediately(self) -> None:
        """Stop at once from now on, without saving.

        Raises:
            Interrupted: A signal has already arrived.
        """
        self.is_deferred = False
        self.raise_if_stopped()

    def raise_if_stopped(self) -> None:
        """Stop at a safe point.

        Raises:
            Interrupted: A signal has arrived.
        """
        if self.signal_number is None:
            return
        raise Interrupted(
            f"stopped by {signal.Signals(self.signal_number).name}",
            resolve_signal(self.signal_number),
            is_early_warning=self.signal_number == signal.SIGUSR1,
        )


@contextmanager
def prefer_interrupt(flag: StopFlag) -> Iterator[None]:
    """Raise Interrupted instead of an error that a library raised because of a signal.

    Args:
        flag: Flag that records signals.

    Raises:
        Interrupted: The block raised an error, and a signal has arrived that stops at once.
    """
    try:
        yield
    except Exception as error:
        if not flag.is_deferred and not isinstance(error, Interrupted):
            flag.raise_if_stopped()
        raise


def resolve_signal(number: int) -> int:
    """Map the early warning of a job scheduler (SIGUSR1) to the SIGTERM that it announces."""
    return signal.SIGTERM if number == signal.SIGUSR1 else number


@contextmanager
def signal_handler(handler: Handler, numbers: Sequence[signal.Signals] = STOP_SIGNALS) -> Iterator[None]:
    """Install a handler for signals inside the block; does nothing outside the main thread, as Python requires.

    SIGHUP stays ignored if it is ignored, as under nohup.

    Args:
        handler: Signal handler.
        numbers: Signals to handle.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
    previous_handlers = {number: signal.signal(number, handler) for number in numbers if number not in ignored}
    try:
        yield
    finally:
        for number, previous in previous_handlers.items():
            signal.signal(number, previous)


@contextmanager
def capture_signals() -> Iterator[StopFlag]:
    """Yield a StopFlag that records the signals which request a stop."""
    flag = StopFlag()
    with signal_handler(flag.on_signal):
        yield flag


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """Exit at once on Ctrl-C until a run or a sweep captures signals; before that, nothing can be lost.

    A KeyboardInterrupt could be raised anywhere: in a C extension that converts it to an ImportError, or in a callback
    that prints it and continues.
    """

    def exit_now(number: int, _: object) -> None:
        with suppress(RuntimeError, OSError, ValueError):  # during a write, or the reader is gone
            sys.stdout.flush()
        os._exit(128 + number)

    with signal_handler(exit_now, (signal.SIGINT,)):
        yield


@contextmanager
def remove_on_stop(path: Path) -> Iterator[None]:
    """Remove an unfinished file or directory if a signal ends the process inside the block.

    Args:
        path: The file or directory.
    """

    def remove_and_exit(number: int, _: object) -> None:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)
        os._exit(128 + number)

    with signal_handler(remove_and_exit):
        yield


@contextmanager
def block_signals() -> Iterator[None]:
    """Block signals inside the block, so that none reaches a child process before it has installed its handlers."""
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """Ask the kernel to send this process a signal when its parent ends, even if that is killed.

    Does nothing on systems other than Linux.

    Args:
        parent: Process id of the parent, read before this process was forked.
        number: Signal to send.
    """
    import ctypes  # here, because only jobs of a sweep need it

    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return
    prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it has ended in the meantime
        os.kill(os.getpid(), number)


def describe_signal(number: int) -> str:
    """Describe a signal for a message: ``signal 9 (SIGKILL): often out of memory``."""
    try:
        name = f" ({signal.Signals(number).name})"
    except ValueError:
        name = ""
    likely_causes: dict[int, str] = {
        signal.SIGKILL: ": often out of memory",
        signal.SIGBUS: ": often out of shared memory",
    }
    return f"signal {number}{name}{likely_causes.get(number, '')}"
