"""Signals: noted, looked at when it is safe, and given back."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from trainer import signals
from trainer.errors import Interrupted


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)], ids=str
)
def test_a_signal_is_noted_until_it_is_looked_at(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with signals.caught() as flag:
        flag.wait_for_check()
        flag.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted, match=f"stopped by {number.name}") as caught:
            flag.check()
    assert caught.value.exit_code == code
    assert signal.getsignal(number) is before


def test_before_a_run_ctrl_c_ends_the_process_at_once() -> None:
    """Also where an exception would be swallowed."""
    pid = os.fork()
    if not pid:
        with signals.leaving():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except BaseException:
                os._exit(1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_before_there_is_anything_to_save_it_stops_at_once() -> None:
    def wait() -> None:
        with signals.caught():
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    with pytest.raises(Interrupted):
        wait()


def test_the_second_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    with signals.caught() as flag:
        flag.wait_for_check()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert left == [143]


def test_handlers_come_back_after_an_exception() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="x"), signals.caught():
        raise ValueError("x")
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_cannot_catch_and_does_not_fail() -> None:
    seen: list[signals.Flag] = []

    def work() -> None:
        with signals.caught() as flag:
            flag.check()
            seen.append(flag)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(seen) == 1
