"""Calls in a child process: results and errors come back, and a child that is killed is a fault of the system."""

from __future__ import annotations

import os
import signal

import pytest

from trainer.utils.errors import ConfigError, SystemFault
from trainer.utils.forked_call import call_in_fork


def kill_itself(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(text: str) -> None:
    raise ConfigError(text)


def test_results_and_errors_of_the_child_come_back() -> None:
    assert call_in_fork(sorted, [2, 1], "sorting") == [1, 2]
    with pytest.raises(ConfigError, match="no such file"):
        call_in_fork(fail, "no such file", "loading")


def test_child_that_is_killed_is_a_fault_of_the_system() -> None:
    with pytest.raises(SystemFault, match="loading: the process for it was killed"):
        call_in_fork(kill_itself, None, "loading")
