"""Runs of a search as jobs of a sweep: started where a launcher has room, paused, continued and stopped."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from trainer.config.launcher_options import LauncherOptions
from trainer.config.run_config import Config
from trainer.runs import sweep
from trainer.runs.launchers import job_file
from trainer.runs.launchers.capacity import Capacity
from trainer.search.run_progress import RunProgress, RunReport
from trainer.search.trial import Trial
from trainer.utils import signals
from trainer.utils.cpu import count_cores
from trainer.utils.errors import Interrupted

if TYPE_CHECKING:
    from trainer.runs.sweep_job import Job

STOP_MESSAGE = "search stopped; the same command with resume=auto resumes it"


class RunPool:
    """Starts the runs of trials.

    Args:
        configs: Configurations of the first trials, which say what the runs need.
        launcher_options: Options of a launcher; None for processes of this machine.

    Attributes:
        at_a_time: Number of runs at a time.
        num_started: Number of runs that have been started or continued.
        description: Where they run, and how many at a time.

    Raises:
        ConfigError: An option of the launcher is invalid, or it would save a secret.
    """

    def __init__(self, configs: Sequence[Config], launcher_options: LauncherOptions | None):
        settings = [config.settings for config in configs]
        self._capacity = Capacity(count_cores(), sweep.list_devices(settings), settings[0].jobs)
        if launcher_options is not None:
            job_file.check_secrets(configs)
        from trainer.runs.launchers import select_launcher  # here, because invalid spaces are reported without torch

        self._backend = select_launcher.make_backend(launcher_options, settings, self._capacity)
        self.num_started = 0
        self.at_a_time = self._capacity.count_parallel_jobs(settings)
        self.description = "" if self._backend is None else self._backend.description
        limit = self._capacity.describe_devices(settings) or sweep.describe_worker_limit(self.at_a_time)
        self.description = self.description or f"{self.at_a_time} at a time{limit}"

    def close(self) -> None:
        """Release everything after the last run."""
        if self._backend is not None:
            self._backend.close()

    def run(
        self,
        trials: Sequence[Trial],
        get_pause: Callable[[Trial], int | None],
        deadline: float | None,
        report_runs: RunReport | None = None,
    ) -> None:
        """Run trials up to a pause or their end, and set the reasons of those that fail.

        Trials that are there already are not started: their run directories say so.

        Args:
            trials: The trials.
            get_pause: Returns the step at which a trial pauses; None for its end.
            deadline: Time of ``time.monotonic`` at which the running ones save their state and end; None for none.
            report_runs: Called every so many runs that have ended.

        Raises:
            Interrupted: A signal has stopped the search.
        """
        pending = [trial for trial in trials if not _has_reached(trial, get_pause(trial))]
        ordered = [_make_job(trial, get_pause(trial)) for trial in pending]
        if not ordered:
            return
        self.num_started += len(ordered)
        from trainer.runs import sweep_scheduler
        from trainer.runs.launchers import select_launcher

        # A new launcher, because jobs that were paused are run again.
        launcher = select_launcher.make_launcher(ordered, uuid.uuid4().hex, self._backend, self._capacity)
        number = sweep_scheduler.run_jobs(ordered, launcher, RunProgress(pending, ordered, report_runs), deadline)
        for trial, job in zip(pending, ordered, strict=True):
            trial.forget_record()
            trial.reason = job.reason if job.status == "failed" else ""
        is_over = deadline is not None and time.monotonic() >= deadline
        if number is None and not is_over and any(job.status == "interrupted" for job in ordered):
            number = signal.SIGTERM  # someone has stopped a run
        if number is not None:
            is_early_warning = number == signal.SIGUSR1
            raise Interrupted(STOP_MESSAGE, signals.resolve_signal(number), is_early_warning=is_early_warning)


def _has_reached(trial: Trial, pause: int | None) -> bool:
    record = trial.record
    return record.status == "finished" if pause is None else record.has_reached(pause)


def _make_job(trial: Trial, pause: int | None) -> Job:
    from trainer.runs.sweep_job import Job

    config = trial.config
    assert config is not None
    # One thread, unless the user chooses: sums must not depend on the number of runs at a time.
    settings = replace(config.settings, threads=config.settings.threads or 1, resume="auto")
    config = replace(config, run_dir=str(trial.path), settings=settings, pause_step=pause)
    return Job(config, trial.path, "waiting")
