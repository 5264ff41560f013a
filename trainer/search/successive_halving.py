"""Stages of a search: all trials run to the first rung, the best ones to the next, and so on to their end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trainer.search import rungs
from trainer.search.run_pool import RunPool
from trainer.search.run_progress import RunReport
from trainer.search.samplers import Observation
from trainer.search.trial import Trial


@dataclass
class Direction:
    """Monitored metric of a search, known after its first run.

    Attributes:
        monitor: Name of the metric; empty before.
        higher_is_better: Its direction.
    """

    monitor: str = ""
    higher_is_better: bool = False


@dataclass
class Stage:
    """What has happened at a rung.

    Attributes:
        rung: Number of the rung, from 0.
        trials: Numbers of the trials that ran to it.
        promoted: Numbers of those that continue; the finished ones at the last rung.
        is_complete: Whether all of them have reached it; else the time was over before.
    """

    rung: int
    trials: list[int]
    promoted: list[int] = field(default_factory=list)
    is_complete: bool = True


class SuccessiveHalving:
    """Runs trials rung by rung.

    Args:
        pool: Starts the runs.
        minimum: Number of trials that a rung has at least.
        deadline: Time of ``time.monotonic`` at which the running ones are stopped; None for none.
        report: Called after each stage.
        report_runs: Called every so many runs that have ended.
    """

    def __init__(
        self,
        pool: RunPool,
        minimum: int,
        deadline: float | None,
        report: Callable[[Stage, Sequence[Trial]], None],
        report_runs: RunReport | None = None,
    ):
        self.pool, self.minimum, self.deadline, self.report = pool, minimum, deadline, report
        self.report_runs = report_runs
        self.direction = Direction()
        self.stages: list[Stage] = []

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def run_first(self, trials: Sequence[Trial]) -> None:
        """Run trials to the first rung, and collect their scores.

        Args:
            trials: The trials.
        """
        self._run_rung(trials, 0)

    def run_rungs(self, trials: Sequence[Trial]) -> None:
        """Promote trials that have reached the first rung, until the last one.

        Args:
            trials: All trials in order of their numbers.
        """
        active, num_rungs = list(trials), max((trial.num_rungs for trial in trials), default=1)
        counts = rungs.count_per_rung(len(active), num_rungs, self.minimum)
        for rung in range(num_rungs):
            if rung:
                self._run_rung(self._sort_best_first(active), rung)
            is_complete = all(len(trial.scores) > rung for trial in active)
            stage = Stage(rung, [trial.number for trial in active], is_complete=is_complete)
            scores = {trial.number: trial.scores[rung] if len(trial.scores) > rung else None for trial in active}
            # Trials that the time has stopped are not compared with others; nothing continues.
            count = counts[rung + 1] if rung + 1 < num_rungs else len(active)
            higher_is_better = self.direction.higher_is_better
            stage.promoted = rungs.promote(scores, count, higher_is_better=higher_is_better) if is_complete else []
            self.stages.append(stage)
            self.report(stage, trials)
            if not is_complete:
                return
            active = [trial for trial in active if trial.number in set(stage.promoted)]

    def _sort_best_first(self, trials: Sequence[Trial]) -> list[Trial]:
        """Sort trials by their last scores, so that those that the time leaves out at a rung are the worst ones."""
        ranked = rungs.rank(
            {trial.number: trial.scores[-1] for trial in trials}, higher_is_better=self.direction.higher_is_better
        )
        return sorted(trials, key=lambda trial: ranked.index(trial.number))

    def observe(self, trials: Sequence[Trial]) -> list[Observation]:
        """Return the points of trials with their last scores.

        Args:
            trials: The trials in order of their numbers.
        """
        return [Observation(trial.point, trial.scores[-1] if trial.scores else None) for trial in trials]

    def _run_rung(self, trials: Sequence[Trial], rung: int) -> None:
        self.pool.run(trials, lambda trial: trial.get_pause(rung), self.deadline, self.report_runs)
        for trial in trials:
            self.collect(trial, rung)

    def collect(self, trial: Trial, rung: int) -> None:
        """Add the score of a trial at a rung, if it has reached it or has failed.

        Args:
            trial: The trial.
            rung: Number of the rung.
        """
        record = trial.record
        if record.monitor and record.higher_is_better is not None:
            self.direction.monitor, self.direction.higher_is_better = record.monitor, record.higher_is_better
        pause = trial.get_pause(rung)
        has_reached = record.status == "finished" if pause is None else record.has_reached(pause)
        if len(trial.scores) != rung or not (has_reached or trial.reason):
            return
        score = record.find_score(trial.get_end(rung)) if has_reached else None
        if score is None and pause is None:
            score = record.find_final_score()
        if has_reached and score is None and not trial.reason:
            trial.reason = "no validation score is finite"
        trial.scores.append(None if score is None or math.isnan(score) else score)
