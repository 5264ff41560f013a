"""Signals: noted, looked at when it is safe, and given back."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from trainer.utils import signals
from trainer.utils.errors import Interrupted


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGHUP, 129)],
    ids=str,
)
def test_a_signal_is_pending_until_checked(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with signals.capture_signals() as flag:
        flag.defer_stop()
        flag.raise_if_stopped()
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted, match=f"stopped by {number.name}") as caught:
            flag.raise_if_stopped()
    assert caught.value.exit_code == code
    assert signal.getsignal(number) is before


def test_before_a_run_ctrl_c_ends_the_process_at_once() -> None:
    """Also where an exception would be swallowed."""
    before = signal.getsignal(signal.SIGINT)
    pid = os.fork()
    if not pid:
        with signals.exit_on_interrupt():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except BaseException:
                os._exit(1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_before_there_is_anything_to_save_it_stops_at_once() -> None:
    def wait() -> None:
        with signals.capture_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    with pytest.raises(Interrupted):
        wait()


@pytest.mark.parametrize("waits", [False, True])
def test_an_interrupt_wrapped_by_a_library_is_still_an_interrupt(waits: bool) -> None:
    """What goes wrong while a signal waits to be looked at is another matter."""

    def load() -> None:
        with signals.capture_signals() as flag, signals.prefer_interrupt(flag):
            if waits:
                flag.defer_stop()
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0)  # here at the latest it is heard
            except Interrupted as error:
                raise TypeError("cannot merge") from error
            raise TypeError("cannot merge")

    with pytest.raises(TypeError if waits else Interrupted):
        load()


def test_the_second_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    with signals.capture_signals() as flag:
        flag.defer_stop()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert left == [130]


@pytest.mark.parametrize("is_saved", [True, False])
def test_the_second_signal_reports_how_to_resume(
    is_saved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "_exit", lambda _: None)
    with signals.capture_signals() as flag:
        flag.defer_stop()
        flag.print_on_exit(tmp_path / "last.pt", "train resume \x1b[31mRUN")
        if is_saved:
            (tmp_path / "last.pt").touch()
        os.kill(os.getpid(), signal.SIGINT)
        assert capfd.readouterr().err == ""
        os.kill(os.getpid(), signal.SIGINT)
    words = "\nstopped at once; resume with: train resume \\x1b[31mRUN\n"
    assert capfd.readouterr().err == (words if is_saved else "")


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_one_request_that_comes_twice_is_one(first: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the group, and passed on by a parent, Ctrl-C as SIGTERM; later it is somebody's second thought."""
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    with signals.capture_signals() as flag:
        flag.defer_stop()
        os.kill(os.getpid(), first)
        os.kill(os.getpid(), signal.SIGTERM)
        assert left == []
        monkeypatch.setattr(signals, "REPEAT_WINDOW_SECONDS", 0.0)
        os.kill(os.getpid(), signal.SIGTERM)
    assert left == [143]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)]
)
def test_the_second_leaves_with_the_code_of_the_first(
    number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setattr(signals, "REPEAT_WINDOW_SECONDS", 0.0)
    with signals.capture_signals() as flag:
        flag.defer_stop()
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    assert left == [code]


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.capture_signals() as flag:
            os.kill(os.getpid(), signal.SIGHUP)
            flag.raise_if_stopped()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_pending_signal_is_raised_when_stopping_immediately() -> None:
    with signals.capture_signals() as flag:
        flag.defer_stop()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="SIGTERM"):
            flag.stop_immediately()


def orphan(pipe: int, *, late: bool) -> None:
    """Says that it waits, and waits, as the child of a parent that has ended."""
    parent = os.getpid()
    if os.fork() == 0:
        while late and os.getppid() == parent:
            time.sleep(0.001)
        signals.end_with_parent(parent, signal.SIGKILL)
        os.write(pipe, b"here")
        time.sleep(60)
        os._exit(0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a service of Linux")
@pytest.mark.parametrize("late", [False, True])
def test_a_child_process_ends_with_its_parent(late: bool) -> None:
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        orphan(writer, late=late)
        time.sleep(0.0 if late else 0.2)
        os._exit(0)
    os.close(writer)
    os.waitpid(parent, 0)
    began = time.monotonic()
    said = os.read(reader, 10), os.read(reader, 10)
    os.close(reader)
    # The end of what it says is the end of the process.
    assert said == ((b"", b"") if late else (b"here", b""))
    assert time.monotonic() - began < 30


def test_a_signal_has_a_name_and_a_usual_cause() -> None:
    assert signals.describe_signal(9) == "signal 9 (SIGKILL): often out of memory"
    assert signals.describe_signal(11) == "signal 11 (SIGSEGV)"
    assert signals.describe_signal(200) == "signal 200"


def test_handlers_come_back_after_an_exception() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="x"), signals.capture_signals():
        raise ValueError("x")
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_cannot_catch_and_does_not_fail() -> None:
    seen: list[signals.StopFlag] = []

    def work() -> None:
        with signals.capture_signals() as flag:
            flag.raise_if_stopped()
            seen.append(flag)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(seen) == 1
