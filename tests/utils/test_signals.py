"""Signals: captured, deferred until checked, and restored."""

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
        with pytest.raises(Interrupted, match=f"stopped by {number.name}") as excinfo:
            flag.raise_if_stopped()
    assert excinfo.value.exit_code == code
    assert signal.getsignal(number) is before


def test_exit_on_interrupt_ends_the_process_at_once() -> None:
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=str)
@pytest.mark.parametrize("is_directory", [False, True])
def test_unfinished_output_is_removed(tmp_path: Path, number: signal.Signals, is_directory: bool) -> None:
    output = tmp_path / "output"
    file = output / "file" if is_directory else output
    file.parent.mkdir(exist_ok=True)
    file.write_text("half")
    pid = os.fork()
    if not pid:
        with signals.remove_on_stop(output):
            os.kill(os.getpid(), number)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + number
    assert not output.exists()


def test_signal_interrupts_at_once_without_defer_stop() -> None:
    def wait() -> None:
        with signals.capture_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    with pytest.raises(Interrupted):
        wait()


@pytest.mark.parametrize("is_deferred", [False, True])
def test_prefer_interrupt_replaces_an_error_caused_by_an_interrupt(is_deferred: bool) -> None:
    """An error while a signal is deferred stays as it is."""

    def load() -> None:
        with signals.capture_signals() as flag, signals.prefer_interrupt(flag):
            if is_deferred:
                flag.defer_stop()
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0)  # the handler has run by now
            except Interrupted as error:
                raise TypeError("cannot merge") from error
            raise TypeError("cannot merge")

    with pytest.raises(TypeError if is_deferred else Interrupted):
        load()


def test_second_signal_exits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    exit_codes: list[int] = []
    monkeypatch.setattr(os, "_exit", exit_codes.append)
    with signals.capture_signals() as flag:
        flag.defer_stop()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert exit_codes == [130]


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
    message = "\nstopped at once; resume with: train resume \\x1b[31mRUN\n"
    assert capfd.readouterr().err == (message if is_saved else "")


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_signals_within_the_repeat_window_count_once(first: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may get a signal of its group and again from its parent, Ctrl-C as SIGTERM."""
    exit_codes: list[int] = []
    monkeypatch.setattr(os, "_exit", exit_codes.append)
    monkeypatch.setattr(signals, "REPEAT_WINDOW_SECONDS", 1000.0)
    with signals.capture_signals() as flag:
        flag.defer_stop()
        os.kill(os.getpid(), first)
        os.kill(os.getpid(), signal.SIGTERM)
        assert exit_codes == []
        monkeypatch.setattr(signals, "REPEAT_WINDOW_SECONDS", 0.0)
        os.kill(os.getpid(), signal.SIGTERM)
    assert exit_codes == [143]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)]
)
def test_second_signal_exits_with_the_code_of_the_first(
    number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exit_codes: list[int] = []
    monkeypatch.setattr(os, "_exit", exit_codes.append)
    monkeypatch.setattr(signals, "REPEAT_WINDOW_SECONDS", 0.0)
    with signals.capture_signals() as flag:
        flag.defer_stop()
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    assert exit_codes == [code]


def test_ignored_sighup_stays_ignored() -> None:
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


def fork_orphan(pipe: int, *, is_late: bool) -> None:
    """Fork a child that writes to the pipe and waits, and end; early enough for it to be late, or when it is ready."""
    parent = os.getpid()
    ready, is_ready = os.pipe()
    if os.fork() == 0:
        while is_late and os.getppid() == parent:
            time.sleep(0.001)
        signals.end_with_parent(parent, signal.SIGKILL)
        os.write(pipe, b"here")
        os.write(is_ready, b"x")
        time.sleep(60)
        os.write(pipe, b"still here")
        os._exit(0)
    if not is_late:
        os.read(ready, 1)
    os._exit(0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only on Linux")
@pytest.mark.parametrize("is_late", [False, True])
def test_a_child_process_ends_with_its_parent(is_late: bool) -> None:
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        fork_orphan(writer, is_late=is_late)
    os.close(writer)
    os.waitpid(parent, 0)
    messages = os.read(reader, 10), os.read(reader, 10)
    os.close(reader)
    # The pipe is at its end when the process has ended.
    assert messages == ((b"", b"") if is_late else (b"here", b""))


def test_describe_signal_gives_name_and_usual_cause() -> None:
    assert signals.describe_signal(9) == "signal 9 (SIGKILL): often out of memory"
    assert signals.describe_signal(11) == "signal 11 (SIGSEGV)"
    assert signals.describe_signal(200) == "signal 200"


def test_handlers_are_restored_after_an_exception() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="x"), signals.capture_signals():
        raise ValueError("x")
    assert signal.getsignal(signal.SIGINT) is before


def test_capture_signals_in_another_thread_does_not_fail() -> None:
    flags: list[signals.StopFlag] = []

    def capture() -> None:
        with signals.capture_signals() as flag:
            flag.raise_if_stopped()
            flags.append(flag)

    thread = threading.Thread(target=capture)
    thread.start()
    thread.join()
    assert len(flags) == 1
