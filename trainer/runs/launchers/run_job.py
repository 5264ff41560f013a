"""Run of one job on the machine that a launcher has chosen: a child process, and a record of who runs it.

The state of a job is in the directory of the sweep, which the machines share: its configuration, its attempts, a file
that asks it to stop. This function is all that a launcher calls, and returns nothing that the sweep depends on.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.runs import run_dir
from trainer.runs.job_attempt import AttemptWatcher, OwnAttempt
from trainer.runs.launchers import job_process
from trainer.utils import atomic_write, child_python, process_identity, signals
from trainer.utils.errors import SystemFault

POLL_SECONDS = 0.2
"""Seconds between checks of the job."""
STOP_POLL_SECONDS = 1.0
"""Seconds between checks of the file that asks it to stop."""


@dataclass
class JobRunner:
    """Function that runs one job.

    Args:
        job_dir: Directory of the job.
        working_dir: Directory to which relative paths of its configuration refer.
        scheduler: Name of the sweep command.
        last_ended: Number of the last attempt that had ended when the command began.
        shares_devices: Whether the job must take a GPU that no other job of its machine uses.
        parent: Machine, process id and start time of the command, with which the job ends; None if it outlives it.
    """

    job_dir: str
    working_dir: str
    scheduler: str
    last_ended: int
    shares_devices: bool
    parent: tuple[str, int, int | None] | None = None

    def __call__(self) -> int | None:
        """Run the job, and return its exit code; None if it is stopped before, or another process runs it."""
        job_dir = Path(self.job_dir)
        self._attempt: OwnAttempt | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._code: int | None = None
        self._is_stop_requested = False
        if self._must_stop():
            return None
        self._attempt = AttemptWatcher(job_dir, self.scheduler, self.last_ended).begin()
        if self._attempt is None:
            return None
        output_path = job_dir.parents[1] / f"{job_dir.name}{run_dir.JOB_OUTPUT_SUFFIX}"
        # Only SIGTERM and Ctrl-C: the warning of a job scheduler has a handler of its own.
        with (
            signals.signal_handler(self._request_stop, (signal.SIGTERM, signal.SIGINT)),
            atomic_write.catch_write_errors(output_path),
            open(output_path, "wb") as output,
        ):
            code = self._run(output)
        self._finish(code)
        return code

    def _finish(self, code: int) -> None:
        assert self._attempt is not None
        self._attempt.finish(code)

    def _run(self, output: Any) -> int:
        assert self._attempt is not None
        try:
            process = self._start(output)
        except OSError as error:  # such as a directory that this machine does not see
            output.write(f"the job cannot be started on {socket.gethostname()}: {error}\n".encode())
            return SystemFault.exit_code
        threading.Thread(target=self._record_code, args=(process,), daemon=True).start()
        self._process = process  # only now: a signal handler that finds it waits for the code
        self._attempt.add_process(process.pid)
        return self._wait()

    def _start(self, output: Any) -> subprocess.Popen[bytes]:
        flags = [job_process.SHARES_DEVICES] if self.shares_devices else []
        command = child_python.make_command(job_process.__name__, self.job_dir, str(os.getpid()), *flags)
        return subprocess.Popen(
            command,
            cwd=self.working_dir,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def _record_code(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the job in a thread: a signal handler could wait for ever for the lock of ``Popen.wait``."""
        self._code = process.wait()

    def _wait(self) -> int:
        assert self._attempt is not None
        next_check_at, is_stopped = 0.0, False
        while self._code is None:
            if time.monotonic() >= next_check_at:
                next_check_at = time.monotonic() + STOP_POLL_SECONDS
                self._is_stop_requested = self._is_stop_requested or self._must_stop()
            if self._is_stop_requested and not is_stopped:
                is_stopped = True
                self._send_signal(signal.SIGTERM)
            if not self._attempt.update():
                self._send_signal(signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        return self._code

    def _must_stop(self) -> bool:
        """Return whether the sweep asks for it, or has ended if the job must not outlive it."""
        if get_stop_file(Path(self.job_dir).parent, self.scheduler).exists():
            return True
        if self.parent is None:
            return False
        machine, pid, start_time = self.parent
        return machine == process_identity.get_machine_id() and not process_identity.is_running(pid, start_time)

    def _request_stop(self, number: int, frame: object) -> None:
        self._is_stop_requested = True

    def _send_signal(self, number: int) -> None:
        if self._process is not None and self._code is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)


def get_stop_file(jobs_dir: Path, scheduler: str) -> Path:
    """Return the file that asks the jobs of a sweep command to stop.

    Args:
        jobs_dir: Directory with those of all jobs.
        scheduler: Name of the command.
    """
    return jobs_dir / f".stop-{scheduler}"
