"""``hydra/launcher=submitit_local`` and ``submitit_slurm``: jobs of submitit, which go on if the command is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from trainer.config.launcher_options import LAUNCHER_GROUP, SubmititLocalOptions, SubmititSlurmOptions
from trainer.runs.job_attempt import INTERRUPTED_CODES
from trainer.runs.launchers.capacity import Capacity
from trainer.runs.launchers.run_job import POLL_SECONDS, JobRunner
from trainer.utils.errors import SystemFault

SIGNAL_VARIABLE, WARNING_SIGNAL = "SUBMITIT_PREEMPT_SIGNAL", "USR1"
"""Environment variable of submitit with the signal before a time limit, and the signal that a run expects."""
FILES_DIR = ".submitit"
"""Directory for the files of submitit, in the one with the directories of the jobs."""


@dataclass
class RequeuedJobRunner(JobRunner):
    """Function that runs one job, which its launcher may stop and run again: at a time limit or after a preemption."""

    def checkpoint(self) -> Any:
        """Save the state at the warning, and return the next call of submitit; None if the job has ended meanwhile."""
        import submitit

        if self._process is not None and self._attempt is not None:
            self._send_signal(signal.SIGUSR1)
            code = self._wait_for_code()
            is_stopped = code in INTERRUPTED_CODES
            self._attempt.finish(code, requeued=is_stopped)
            if not is_stopped:
                return None
        return submitit.helpers.DelayedSubmission(replace(self))

    def _wait_for_code(self) -> int:
        while self._code is None:
            time.sleep(POLL_SECONDS)
        return self._code

    def _finish(self, code: int) -> None:
        if code not in INTERRUPTED_CODES or self._must_stop():
            super()._finish(code)
            return
        assert self._attempt is not None
        self._attempt.finish(code, requeued=True)
        # Without a result, by which submitit would take the job as ended; Slurm knows whether it is requeued.
        sys.exit(code)


class SubmititJob:
    """Submission of a job.

    Args:
        job: Job of submitit.
        cluster: Name of what runs it.
    """

    def __init__(self, job: Any, cluster: str):
        self._job, self._cluster = job, cluster

    def has_ended(self) -> bool:
        """Return whether submitit has its result, or knows that there will be none."""
        return bool(self._job.done())

    def describe_end(self) -> str:
        """Return the state of the job, and the file with its errors."""
        return f"{self._cluster} job {self._job.job_id} ended as {self._job.state}; see {self._job.paths.stderr}"

    def cancel(self) -> None:
        """Remove it from the queue."""
        self._job.cancel(check=False)


class SubmititLocalBackend:
    """Backend of processes of this machine.

    Args:
        options: Options of the command line.
    """

    description = ""
    poll_seconds = 0.3
    shares_devices = True
    outlives_command = True

    def __init__(self, options: SubmititLocalOptions):
        self._options = options

    def limit_jobs(self, capacity: Capacity) -> Capacity:
        """Return the room on this machine: submitit starts at once what it gets."""
        return capacity

    def submit(self, runners: Sequence[JobRunner]) -> list[SubmititJob]:
        options = self._options
        submitit = _import_submitit()
        executor = submitit.LocalExecutor(_make_files_dir(runners), max_num_timeout=options.max_num_timeout)
        executor.update_parameters(timeout_min=options.timeout_min, signal_delay_s=options.signal_delay_s)
        with _ignored_interrupt():
            return [SubmititJob(executor.submit(_with_checkpoint(runner)), "local") for runner in runners]

    def close(self) -> None:
        """Do nothing: the processes end by themselves."""


class SubmititSlurmBackend:
    """Backend of Slurm.

    Args:
        options: Options of the command line.
        jobs_limit: Maximum number of jobs at a time; None for as many as Slurm starts.
        processes: Number of processes of a job, each of which needs a core, and a GPU if it trains on CUDA.
        uses_cuda: Whether a job trains on CUDA.

    Raises:
        SystemFault: This machine cannot submit jobs.
    """

    description = "as jobs of Slurm"
    poll_seconds = 1.0
    shares_devices = False
    outlives_command = True

    def __init__(self, options: SubmititSlurmOptions, jobs_limit: int | None, processes: int, *, uses_cuda: bool):
        missing = [command for command in ("sbatch", "srun") if shutil.which(command) is None]
        if missing:
            raise SystemFault(
                f"{LAUNCHER_GROUP}=submitit_slurm: there is no {' and no '.join(missing)} in PATH; start the sweep on a"
                " machine that can submit jobs to Slurm, such as its login node"
            )
        values = {field.name: getattr(options, field.name) for field in fields(options)}
        self._python, self._max_num_timeout = values.pop("python"), values.pop("max_num_timeout")
        memory = values.pop("mem_gb")
        values |= {
            "job_name": "train",
            "time": values.pop("timeout_min"),
            "mem": None if memory is None else f"{round(memory * 1024)}MB",
            "array_parallelism": options.array_parallelism or jobs_limit,
            "gpus_per_node": options.gpus_per_node or (processes if uses_cuda else None),
            "cpus_per_task": options.cpus_per_task or (processes if processes > 1 else None),
            "setup": [f"export {SIGNAL_VARIABLE}={WARNING_SIGNAL}", *(options.setup or [])],
        }
        self._parameters = {key: value for key, value in values.items() if value is not None}

    def limit_jobs(self, capacity: Capacity) -> None:
        """Return None: Slurm has a queue."""

    def submit(self, runners: Sequence[JobRunner]) -> list[SubmititJob]:
        submitit = _import_submitit()
        executor = submitit.SlurmExecutor(
            _make_files_dir(runners), max_num_timeout=self._max_num_timeout, python=self._python
        )
        executor.update_parameters(**self._parameters)
        try:
            with executor.batch():
                jobs = [executor.submit(_with_checkpoint(runner)) for runner in runners]
        except (subprocess.SubprocessError, submitit.core.utils.FailedJobError, OSError) as error:
            raise SystemFault(f"sbatch: {' '.join(str(error).split())}") from error
        return [SubmititJob(job, "Slurm") for job in jobs]

    def close(self) -> None:
        """Do nothing: Slurm ends the jobs."""


def _import_submitit() -> Any:
    """Import submitit, which reads the signal from the environment then."""
    os.environ.setdefault(SIGNAL_VARIABLE, WARNING_SIGNAL)
    import submitit

    return submitit


def _make_files_dir(runners: Sequence[JobRunner]) -> Path:
    return Path(runners[0].job_dir).parent / FILES_DIR


def _with_checkpoint(runner: JobRunner) -> RequeuedJobRunner:
    return RequeuedJobRunner(**{field.name: getattr(runner, field.name) for field in fields(runner)})


@contextmanager
def _ignored_interrupt() -> Iterator[None]:
    """Let processes that are started inside the block ignore Ctrl-C, which the sweep passes on when they can save."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
