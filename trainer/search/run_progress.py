"""Progress of the runs of a search: their number, the best score so far and the time left, while a rung is running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from trainer.search.trial import Trial
from trainer.utils.text import format_count
from trainer.viz.progress_bar import Position, StageProgress

if TYPE_CHECKING:
    from trainer.runs.sweep_job import Job

MAX_LINES = 10
"""Most lines about the runs of a rung."""
RunReport = Callable[[Sequence[Trial], int], None]
"""Function of the trials that run, and of how many of them have ended."""


class RunProgress(StageProgress):
    """Progress of a part of a search that reports every so many runs that have ended.

    Args:
        trials: The trials that run.
        jobs: Their jobs, in the same order.
        report: Called with the trials and the number of those that have ended, but not for the last one; None for
            no report.
    """

    def __init__(self, trials: Sequence[Trial], jobs: Sequence[Job], report: RunReport | None):
        super().__init__(len(jobs))
        self.trials, self.jobs, self.report = trials, jobs, report

    def finish_job(self, text: str, running: Sequence[tuple[str, Position | None]]) -> None:
        super().finish_job(text, running)
        is_due = self.num_done % -(-self.total // MAX_LINES) == 0 and self.num_done < self.total
        if self.report is not None and is_due and not text.startswith("interrupted"):
            for trial, job in zip(self.trials, self.jobs, strict=True):
                if job.status != "waiting":
                    trial.forget_record()
            self.report(self.trials, self.num_done)

    def _format_status(self, running: Sequence[tuple[str, Position | None]]) -> str:
        lines = [f"{name}: {_describe_position(position)}" for name, position in running]
        return "\n".join([*lines, f"{self.num_done} of {format_count(self.total, 'run')} done"])


def _describe_position(position: Position | None) -> str:
    return "starting" if position is None else position.format_position()


class PlannedWork(NamedTuple):
    """What a search takes from its beginning to its end.

    Attributes:
        starts: How often a run is started or continued.
        steps: Number of steps of all runs together.
    """

    starts: int
    steps: int


def estimate_seconds_left(trials: Sequence[Trial], planned: PlannedWork, seconds: float, workers: int) -> float | None:
    """Estimate the time that a search without a time budget still takes; None before a run has been validated.

    Args:
        trials: All its runs, with those of further seeds.
        planned: What the whole search takes.
        seconds: Time so far.
        workers: Number of runs at a time.
    """
    own = [trial for trial in trials if not trial.is_reused]
    own_steps = sum(trial.record.steps for trial in own)
    if not own_steps:
        return None
    # Short runs take longer to start than to train.
    training_seconds = sum(float(trial.record.results.get("seconds") or 0.0) for trial in own)
    start_seconds = max(0.0, seconds * workers - training_seconds) / max(1, sum(map(_count_starts, own)))
    steps_left = max(0, planned.steps - sum(trial.record.steps for trial in trials))
    starts_left = max(0, planned.starts - sum(map(_count_starts, trials)))
    return (steps_left * training_seconds / own_steps + starts_left * start_seconds) / workers


def _count_starts(trial: Trial) -> int:
    """Return how often a run has been started or continued, and has reached its pause or its end."""
    record = trial.record
    has_ended = record.status == "finished" or bool(trial.reason)
    return sum(record.steps >= pause for pause in trial.pauses) + has_ended
