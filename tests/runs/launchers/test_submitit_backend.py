"""The warning of a job scheduler is handled wherever it interrupts the process that watches a job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.states import fork
from trainer.runs.job_attempt import find_latest

pytest.importorskip("submitit")

JOB = "import signal, sys; signal.signal(signal.SIGUSR1, lambda *_: sys.exit(138)); print(flush=True); signal.pause()"


class WatchedProcess(subprocess.Popen[bytes]):
    """Process that a signal handler must not wait for: the main thread may hold the lock of ``wait``."""

    def wait(self, timeout: float | None = None) -> int:
        assert threading.current_thread() is not threading.main_thread()
        return super().wait(timeout)


def start_job() -> WatchedProcess:
    process = WatchedProcess([sys.executable, "-S", "-c", JOB], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def run_with_warning(job_dir: Path) -> bool:
    """Run a job that is warned at once; return whether it is submitted again."""
    from trainer.runs.launchers.submitit_backend import RequeuedJobRunner

    class Runner(RequeuedJobRunner):
        def _start(self, output: Any) -> WatchedProcess:
            return start_job()

        def _wait(self) -> int:
            os.kill(os.getpid(), signal.SIGUSR1)
            return super()._wait()

    runner = Runner(str(job_dir), str(job_dir), "a", -1, shares_devices=False)
    submissions: list[Any] = []
    signal.signal(signal.SIGUSR1, lambda *_: submissions.append(runner.checkpoint()))
    try:
        runner()
    except SystemExit as error:
        return error.code == 138 and [each is not None for each in submissions] == [True]
    return False


@pytest.mark.slow
def test_the_handler_of_a_warning_does_not_wait_for_a_lock(tmp_path: Path) -> None:
    job_dir = tmp_path / ".jobs" / "0-"
    job_dir.mkdir(parents=True)
    pid = fork()
    if not pid:
        try:
            os._exit(0 if run_with_warning(job_dir) else 3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    latest = find_latest(job_dir)
    assert latest is not None
    assert (latest.code, latest.is_requeued) == (138, True)
