"""Further processes of a data parallel run on this machine: their start, their failures and their end."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from trainer.engine.process_group import ProcessGroupError
from trainer.utils import child_python
from trainer.utils.errors import SystemFault
from trainer.utils.signals import describe_signal

log = logging.getLogger(__name__)

STORE_VARIABLE = "TRAIN_PROCESS_STORE"
"""Environment variable of workers: file by which the processes of a run on one machine find each other."""
PARENT_VARIABLE = "TRAIN_PROCESS_PARENT"
"""Environment variable of workers: process id of process 0, which may have ended before they ask for it."""
TIMEOUT_VARIABLE = "TRAIN_PROCESS_TIMEOUT"
"""Environment variable of workers: ``process_timeout``, which they need before they receive the configuration."""
POLL_SECONDS = 0.1
"""Seconds between checks for workers that have failed."""
GRACE_SECONDS = 5.0
"""Seconds that this process has to notice the failure of a worker, before it ends without cleaning up."""
NOTICE_SECONDS = 2.0
"""Seconds after the failure of an exchange within which a worker that has failed ends."""
END_SECONDS = 5.0
"""Seconds that workers have to end after the run, before they are killed."""
MAX_OUTPUT_LINES = 8
"""Lines of the output of a failed worker in a message."""


class Worker:
    """Another process of the run on this machine.

    Args:
        rank: Its number.
        process: The process.
        output: File with its output.
    """

    def __init__(self, rank: int, process: subprocess.Popen[bytes], output: IO[bytes]):
        self.rank = rank
        self.process = process
        self.output = output

    def has_failed(self) -> bool:
        """Return whether the worker has ended with an error or by a signal."""
        return bool(self.process.poll())

    def describe_failure(self) -> str:
        """Describe how the worker has failed, with the end of its output."""
        code = self.process.wait()
        if code < 0:
            return f"process {self.rank} was killed by {describe_signal(-code)}"
        self.output.seek(0)
        text = self.output.read().decode("utf-8", "replace").strip()
        log.error("output of process %d:\n%s", self.rank, text)
        lines = text.splitlines()[-MAX_OUTPUT_LINES:]
        return "\n".join([f"process {self.rank} has failed with exit code {code}:", *lines])

    def end(self, timeout: float) -> None:
        """Wait for the worker to end, and kill it if it does not.

        Args:
            timeout: Seconds to wait.
        """
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()


class WorkerWatch:
    """Ends this process within the block if a worker fails while it cannot notice that, as in a CUDA kernel.

    Args:
        workers: The workers.
        store_dir: Temporary directory of their store, which is removed then; None if torchrun has started them.
    """

    def __init__(self, workers: Sequence[Worker], store_dir: Path | None):
        self.workers = workers
        self.store_dir = store_dir
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> WorkerWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def wait_for_start(self, is_ready: Callable[[], bool], timeout: float) -> None:
        """Wait until all workers have started.

        Args:
            is_ready: Whether they have.
            timeout: Seconds to wait.

        Raises:
            ProcessGroupError: A worker has failed, or has not started in time.
        """
        deadline = time.monotonic() + timeout
        while not is_ready():
            if self.find_failure(POLL_SECONDS):
                raise ProcessGroupError("a process has ended before it could join")
            if time.monotonic() > deadline:
                raise ProcessGroupError(f"not all processes have started within {timeout:g} s (process_timeout)")

    def find_failure(self, timeout: float) -> Worker | None:
        """Return a worker that has failed, or fails within a time; None if there is none.

        Args:
            timeout: Seconds to wait.
        """
        deadline = time.monotonic() + timeout
        while not (failed := next((worker for worker in self.workers if worker.has_failed()), None)):
            if time.monotonic() >= deadline:
                break
            time.sleep(POLL_SECONDS)
        return failed

    def _watch(self) -> None:
        while not self._is_over.wait(POLL_SECONDS):
            failed = self.find_failure(0)
            if failed is not None:
                if not self._is_over.wait(GRACE_SECONDS):
                    if self.store_dir is not None:
                        shutil.rmtree(self.store_dir, ignore_errors=True)
                    # A file that is being written stays unfinished under a temporary name.
                    print(f"error: {failed.describe_failure()}", file=sys.stderr, flush=True)
                    os._exit(SystemFault.exit_code)
                return


def start_worker(rank: int, size: int, store_path: Path, timeout: float) -> Worker:
    """Start a process, which runs ``worker.run_worker``.

    Args:
        rank: Its number, from 1.
        size: Number of processes.
        store_path: File by which they find each other.
        timeout: Seconds to wait for another process.
    """
    variables = {
        **{"RANK": str(rank), "WORLD_SIZE": str(size)},
        **{STORE_VARIABLE: str(store_path), TIMEOUT_VARIABLE: str(timeout), PARENT_VARIABLE: str(os.getpid())},
    }
    variables |= child_python.list_path_variables()
    output = tempfile.TemporaryFile()  # noqa: SIM115 - Worker.end closes it
    # In a session of its own, so that Ctrl-C does not reach it: process 0 passes the request on after a step.
    process = subprocess.Popen(
        child_python.make_command("trainer"),
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    return Worker(rank, process, output)
