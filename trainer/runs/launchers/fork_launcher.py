"""The default launcher: each job is a fork of this process, which has imported torch but started no threads.

It starts in milliseconds, and its failure does not affect the others.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from trainer.config import registry
from trainer.runs.job_attempt import OwnAttempt
from trainer.runs.launchers.capacity import Capacity
from trainer.runs.launchers.launcher import EndedJob, ForeignJob, JobEnd, JobHandle, watch_jobs
from trainer.runs.sweep_job import Job, train_job
from trainer.utils import atomic_write, signals
from trainer.utils.errors import SystemFault


class ForkedJob:
    """A job in a child process.

    Args:
        job: The job.
        pid: Its process id.
        attempt: The attempt to run it.
    """

    def __init__(self, job: Job, pid: int, attempt: OwnAttempt):
        self.job, self._pid, self._attempt = job, pid, attempt
        self._is_lost = self.has_ended = False

    def poll(self) -> JobEnd | None:
        # Wait for each job by its process id, because the caller may have other children.
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            self.has_ended = True
            code = os.waitstatus_to_exitcode(status)
            self._attempt.finish(code)
            return JobEnd(code, is_abandoned=self._is_lost)
        if not self._attempt.update() and not self._is_lost:
            self._is_lost = True
            os.kill(self._pid, signal.SIGKILL)
        return None

    def stop(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it has just ended
            # Ctrl-C reaches the job, too; a second SIGINT would end it without saving.
            os.kill(self._pid, signal.SIGTERM if number == signal.SIGINT else number)


class RunningJob(Protocol):
    """A job that takes the room of one."""

    @property
    def job(self) -> Job: ...

    @property
    def has_ended(self) -> bool: ...


class ForkLauncher:
    """Launcher that forks this process.

    Args:
        jobs: All jobs of the sweep.
        scheduler: Name of this command.
        capacity: Room for jobs on this machine.
    """

    poll_seconds = 0.05

    def __init__(self, jobs: Sequence[Job], scheduler: str, capacity: Capacity):
        self._watchers, self._capacity = watch_jobs(jobs, scheduler), capacity
        self._running: list[RunningJob] = []
        _preimport(jobs)

    def start_jobs(self, waiting: Sequence[Job]) -> list[tuple[Job, JobHandle]]:
        started: list[tuple[Job, JobHandle]] = []
        rest = list(waiting)
        self._running = [handle for handle in self._running if not handle.has_ended]
        while job := self._capacity.find_next_job(rest, [handle.job for handle in self._running]):
            rest.remove(job)
            started.append((job, self._start_job(job)))
        return started

    def _start_job(self, job: Job) -> JobHandle:
        attempt = self.begin_attempt(job)
        if not isinstance(attempt, OwnAttempt):
            return attempt
        pid = fork_process(lambda: _run_child(job))
        attempt.add_process(pid)
        handle = ForkedJob(job, pid, attempt)
        self._running.append(handle)
        return handle

    def begin_attempt(self, job: Job) -> OwnAttempt | JobHandle:
        """Begin an attempt to run a job, or return the handle of one that need not be started."""
        watcher = self._watchers[job.path]
        try:
            attempt = watcher.begin()
        except SystemFault as error:
            return EndedJob(JobEnd(error.exit_code, str(error)))
        return ForeignJob(watcher) if attempt is None else attempt


def fork_process(run: Callable[[], int]) -> int:
    """Start a child process, which ends when this one does, and return its process id.

    Args:
        run: Called in the child; returns its exit code.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    with signals.block_signals():  # or a job that was just forked would miss them
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _detach_from_sweep(parent)
        code = run()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _detach_from_sweep(parent: int) -> None:
    """Reset signal handlers, and end with SIGTERM when the sweep ends, so that the job saves its state."""
    for number in signals.STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)  # there is nothing to save until the run catches them
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.STOP_SIGNALS)
    signals.end_with_parent(parent, signal.SIGTERM)


def _run_child(job: Job) -> int:
    assert job.config is not None
    try:
        with atomic_write.catch_write_errors(job.output_path):
            output = os.open(job.output_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    except SystemFault as error:
        print(error, file=sys.stderr)
        return error.exit_code
    os.dup2(output, 1)
    os.dup2(output, 2)
    return train_job(job.config, shares_devices=True)


def _preimport(jobs: Sequence[Job]) -> None:
    """Import once what every job would import."""
    import torch

    from trainer.runs import train  # noqa: F401

    trees = [job.config.tree for job in jobs if job.config is not None]
    if any(tree["draw"] for tree in trees):
        import matplotlib.backends.backend_agg
        import matplotlib.figure  # noqa: F401
    # Before the first fork there must be one thread: a child inherits locks, but not the threads that hold them.
    torch.set_num_threads(1)
    modules = {tree[group]["_target_"].rpartition(".")[0] for tree in trees for group in registry.OBJECT_GROUPS}
    for module in sorted(modules):
        # Plugins are imported by the jobs, so that their errors do not end the sweep.
        if module.startswith("trainer."):
            importlib.import_module(module)
