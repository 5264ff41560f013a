"""Interface of launchers: what starts the jobs of a sweep, and how a job that was started is followed."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trainer.runs.job_attempt import AttemptWatcher

if TYPE_CHECKING:
    from trainer.runs.sweep_job import Job


@dataclass(frozen=True)
class JobEnd:
    """End of a job.

    Attributes:
        code: Exit code of its process, negative for a signal.
        reason: What its launcher knows about the cause; may be empty.
        is_abandoned: Whether another sweep command ran the job and was stopped, so that this one must run it.
    """

    code: int
    reason: str = ""
    is_abandoned: bool = False


class JobHandle(Protocol):
    """A job that was started."""

    def poll(self) -> JobEnd | None:
        """Return how the job has ended; None as long as it has not."""

    def stop(self, number: int) -> None:
        """Make the job save its state and end.

        Args:
            number: Number of the signal that the sweep has received.
        """


class Launcher(Protocol):
    """What starts the jobs of a sweep."""

    @property
    def poll_seconds(self) -> float:
        """Seconds between checks of the jobs."""

    def start_jobs(self, waiting: Sequence[Job]) -> list[tuple[Job, JobHandle]]:
        """Start as many of the jobs as there is room for, and return them with their handles.

        Args:
            waiting: Jobs that have not been started, in their order.
        """


@dataclass(frozen=True)
class EndedJob:
    """Handle of a job that need not be started.

    Args:
        end: How it has ended.
    """

    end: JobEnd

    def poll(self) -> JobEnd:
        return self.end

    def stop(self, number: int) -> None:
        """Do nothing."""


class ForeignJob:
    """Handle of a job that another sweep command runs, maybe on another machine.

    Args:
        watcher: Its attempts.
    """

    def __init__(self, watcher: AttemptWatcher):
        self._watcher, self._is_stopped = watcher, False

    def poll(self) -> JobEnd | None:
        if self._is_stopped:
            return JobEnd(-signal.SIGTERM, "another command runs it")
        current = self._watcher.find_current()
        if current is None:
            return JobEnd(-signal.SIGTERM, "another command that ran it was stopped", is_abandoned=True)
        return None if current.code is None or current.is_requeued else JobEnd(current.code)

    def stop(self, number: int) -> None:
        """Stop to wait for the job, which the other command goes on with."""
        self._is_stopped = True


def watch_jobs(jobs: Iterable[Job], scheduler: str) -> dict[Path, AttemptWatcher]:
    """Return the attempts of each job that can run, by its run directory.

    Args:
        jobs: Jobs of the sweep.
        scheduler: Name of this command.
    """
    return {job.path: AttemptWatcher(job.state_dir, scheduler) for job in jobs if job.config is not None}
