"""Launcher for backends that start processes elsewhere, which are followed by the files of the shared directory."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from trainer.runs import matching_run, run_dir
from trainer.runs.job_attempt import Attempt, AttemptWatcher, find_latest
from trainer.runs.launchers.capacity import Capacity
from trainer.runs.launchers.job_file import write_job_file
from trainer.runs.launchers.launcher import EndedJob, ForeignJob, JobEnd, JobHandle, watch_jobs
from trainer.runs.launchers.run_job import JobRunner, get_stop_file
from trainer.runs.sweep_job import Job
from trainer.utils import atomic_write, process_identity
from trainer.utils.errors import SystemFault, UserError

JOBS_PER_POLL = 32
"""Number of running jobs above which they are checked less often."""
FAILED_CODE = 1
"""Exit code of a job of which only its backend knows the end."""


class Submission(Protocol):
    """A call of a ``JobRunner`` that was handed to a backend."""

    def has_ended(self) -> bool:
        """Return whether it is neither queued nor running."""

    def describe_end(self) -> str:
        """Return how it ended as far as the backend knows."""

    def cancel(self) -> None:
        """Remove it from the queue."""


class Backend(Protocol):
    """What calls ``JobRunner`` on some machine.

    Attributes:
        description: How the jobs run, for the first line of the sweep; empty for as many at a time as without it.
        poll_seconds: Seconds between checks of the jobs.
        shares_devices: Whether jobs choose GPUs of their machine themselves.
        outlives_command: Whether jobs go on if the command is killed.
    """

    description: str
    poll_seconds: float
    shares_devices: bool
    outlives_command: bool

    def limit_jobs(self, capacity: Capacity) -> Capacity | None:
        """Return the room for jobs that are handed over and have not ended; None if there is a queue for all.

        Args:
            capacity: Room for jobs on this machine.
        """

    def submit(self, runners: Sequence[JobRunner]) -> Sequence[Submission]:
        """Hand over calls, and return one submission each."""

    def close(self) -> None:
        """Release everything after the last job."""


class RemoteJob:
    """Handle of a job that a backend runs.

    Args:
        runner: The call that was handed over.
        watcher: Attempts of the job.
        submission: The call, as the backend sees it.
    """

    def __init__(self, job: Job, runner: JobRunner, watcher: AttemptWatcher, submission: Submission):
        self.job, self.has_ended = job, False
        self._runner, self._watcher, self._submission = runner, watcher, submission
        self._is_stopped = False

    def poll(self) -> JobEnd | None:
        # In this order: the submission may end and the attempt be recorded between the two.
        is_over = self._submission.has_ended()
        current = self._watcher.find_current()
        end: JobEnd | None = None
        if current is not None and not current.is_requeued:
            end = None if current.code is None else JobEnd(current.code)
        elif is_over:
            end = self._describe_end(current)
        self.has_ended = end is not None
        return end

    def _describe_end(self, requeued: Attempt | None) -> JobEnd:
        """Return how a job without a record has ended: stopped in the queue, lost by its backend, or foreign."""
        if self._is_stopped:
            return JobEnd(-signal.SIGTERM, "the sweep was stopped before it started")
        latest = find_latest(self.job.state_dir)
        if (
            latest is not None
            and latest.number > self._runner.last_ended
            and latest.scheduler != self._runner.scheduler
        ):
            return JobEnd(-signal.SIGTERM, "another command that ran it was stopped", is_abandoned=True)
        if requeued is not None:
            reason = f"stopped by SIGTERM, and not continued: {self._submission.describe_end()}"
            return JobEnd(-signal.SIGTERM, reason)
        return JobEnd(FAILED_CODE, self._submission.describe_end())

    def stop(self, number: int) -> None:
        self._is_stopped = True
        with suppress(SystemFault), atomic_write.catch_write_errors(self.job.state_dir):
            get_stop_file(self.job.state_dir.parent, self._runner.scheduler).touch()
        current = self._watcher.find_current()
        if current is None or current.is_requeued:
            self._submission.cancel()


class RemoteLauncher:
    """Launcher of a backend.

    Args:
        jobs: All jobs of the sweep.
        scheduler: Name of this command.
        backend: The backend.
        capacity: Room for jobs on this machine.
    """

    def __init__(self, jobs: Sequence[Job], scheduler: str, backend: Backend, capacity: Capacity):
        self._watchers, self._scheduler = watch_jobs(jobs, scheduler), scheduler
        self._backend, self._capacity = backend, backend.limit_jobs(capacity)
        self._running: list[RemoteJob] = []

    @property
    def poll_seconds(self) -> float:
        """Seconds between checks: longer for many jobs, because each costs requests to a file server."""
        return self._backend.poll_seconds * max(1.0, len(self._running) / JOBS_PER_POLL)

    def start_jobs(self, waiting: Sequence[Job]) -> list[tuple[Job, JobHandle]]:
        self._running = [handle for handle in self._running if not handle.has_ended]
        started: list[tuple[Job, JobHandle]] = []
        selected: list[Job] = []
        for job in self._list_startable(waiting):
            if (handle := self._find_handle(job)) is not None:
                started.append((job, handle))
            else:
                selected.append(job)
        if selected:
            runners = [self._make_runner(job) for job in selected]
            for job, runner, submission in zip(selected, runners, self._backend.submit(runners), strict=True):
                self._running.append(RemoteJob(job, runner, self._watchers[job.path], submission))
                started.append((job, self._running[-1]))
        return started

    def _list_startable(self, waiting: Sequence[Job]) -> list[Job]:
        if self._capacity is None:
            return list(waiting)
        rest = list(waiting)
        selected: list[Job] = []
        running = [handle.job for handle in self._running]
        while job := self._capacity.find_next_job(rest, [*running, *selected]):
            rest.remove(job)
            selected.append(job)
        return selected

    def _find_handle(self, job: Job) -> JobHandle | None:
        """Return a handle of a job that need not be started, or cannot be."""
        try:
            if is_complete(job):
                return EndedJob(JobEnd(0))
            assert job.config is not None
            write_job_file(job.config, job.state_dir)
        except UserError as error:
            return EndedJob(JobEnd(error.exit_code, str(error)))
        current = self._watchers[job.path].find_current()
        return None if current is None else ForeignJob(self._watchers[job.path])

    def _make_runner(self, job: Job) -> JobRunner:
        assert job.config is not None
        pid = os.getpid()
        parent = (process_identity.get_machine_id(), pid, process_identity.read_start_time(pid))
        return JobRunner(
            str(job.state_dir.absolute()),
            job.config.working_dir,
            self._scheduler,
            self._watchers[job.path].last_ended,
            self._backend.shares_devices,
            None if self._backend.outlives_command else parent,
        )


def is_complete(job: Job) -> bool:
    """Return whether an earlier command has finished a job, with all its files, so that it need not be started."""
    from trainer.runs import initial_weights

    assert job.config is not None
    if job.config.settings.resume != "auto" or not job.path.is_dir():
        return False
    results = run_dir.read_results(job.path)
    if results.get("status") != "finished" or results.get("artifacts") is None:
        return False
    return matching_run.find_matching_run(initial_weights.with_input_digests(job.config), job.path) is not None
