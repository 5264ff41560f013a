"""Finalists: the best trials with further seeds, of which the one with the best mean validation score is the result.

The score of the seed by which a trial was chosen is optimistic, and so is a mean without the seeds that failed. So
finalists with failed runs come after those without, and those with more finished seeds before those with fewer.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trainer.search import rungs
from trainer.search.successive_halving import SuccessiveHalving
from trainer.search.trial import Trial
from trainer.utils.errors import UserError


@dataclass
class Finalist:
    """A trial with its replicates.

    Attributes:
        trial: The trial.
        replicates: Its runs with further seeds.
        val: Validation score of each run that has one.
        test: Test score of each run that is finished; of the best weights so far if none is.
        num_failed: Number of runs that have failed, or whose scores are all NaN.
        is_finished: Whether its scores are those of finished runs.
        step: Number of steps of its run.
    """

    trial: Trial
    replicates: list[Trial]
    val: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    num_failed: int = 0
    is_finished: bool = True
    step: int = 0

    @property
    def mean_val(self) -> float | None:
        """Mean validation score; None if there is none."""
        return statistics.fmean(self.val) if self.val else None


def select_finalists(trials: Sequence[Trial], count: int, halving: SuccessiveHalving) -> list[Trial]:
    """Return the best trials: those that have come furthest, by their score there.

    Args:
        trials: The trials.
        count: Number of finalists.
        halving: The stages that they have run.
    """
    scored = {trial.number: trial for trial in trials if trial.scores and trial.scores[-1] is not None}
    furthest = max((len(trial.scores) for trial in scored.values()), default=0)
    if not furthest:
        return _select_unfinished(trials, halving)
    scores = {number: trial.scores[-1] for number, trial in scored.items() if len(trial.scores) == furthest}
    ranked = rungs.rank(scores, higher_is_better=halving.direction.higher_is_better)
    return [scored[number] for number in ranked[:count]]


def _select_unfinished(trials: Sequence[Trial], halving: SuccessiveHalving) -> list[Trial]:
    """Return the trial with the best score so far, if the time was over before any reached the first rung."""
    scores: dict[int, float | None] = {}
    for trial in trials:
        record = trial.record
        score = record.find_score(record.steps)
        if score is not None and record.higher_is_better is not None:
            halving.direction.monitor, halving.direction.higher_is_better = record.monitor, record.higher_is_better
            scores[trial.number] = score
    ranked = rungs.rank(scores, higher_is_better=halving.direction.higher_is_better)[:1]
    return [trial for number in ranked for trial in trials if trial.number == number]


def read_finalist(trial: Trial, replicates: Sequence[Trial], monitor: str) -> Finalist:
    """Read the scores of a finalist and its replicates.

    Args:
        trial: The trial.
        replicates: Its runs with further seeds.
        monitor: Name of the monitored metric.
    """
    finalist = Finalist(trial, list(replicates))
    for run in (trial, *replicates):
        record = run.record
        is_finished = record.status == "finished"
        val = _get_score(record.results, "val", monitor) if is_finished else math.nan
        if not math.isnan(val):
            finalist.val.append(val)
            finalist.test.append(_get_score(record.results, "test", monitor))
        elif is_finished or run.reason:
            finalist.num_failed += 1
    record = trial.record
    finalist.step = record.steps
    if not finalist.val:
        finalist.is_finished = False
        score = record.find_score(record.steps)
        finalist.val = [] if score is None else [score]
        finalist.test = _test_unfinished(trial, monitor)
    return finalist


def _get_score(results: Mapping[str, dict[str, float]], split: str, monitor: str) -> float:
    return float(results.get(split, {}).get(monitor, float("nan")))


def _test_unfinished(trial: Trial, monitor: str) -> list[float]:
    """Return the test score of the best weights of a run that the time has stopped, in a list that may be empty."""
    if trial.config is None:
        return []
    from trainer.runs import unfinished_run

    try:
        scores = unfinished_run.score_best_weights(trial.config, trial.path)
    except UserError:  # such as one that another process has begun to continue
        return []
    return [scores[monitor]] if monitor in scores else []


def rank_finalists(finalists: Sequence[Finalist], *, higher_is_better: bool) -> list[Finalist]:
    """Return finalists, best first: those with the fewest failed runs, with the most seeds, by their mean scores.

    Args:
        finalists: The finalists.
        higher_is_better: Direction of the score.
    """
    scores = {index: finalist.mean_val for index, finalist in enumerate(finalists)}
    ranked = [finalists[index] for index in rungs.rank(scores, higher_is_better=higher_is_better)]
    return sorted(ranked, key=_count_seeds)


def _count_seeds(finalist: Finalist) -> tuple[int, bool, int]:
    """Return a key that is lower for fewer failed, and for more finished seeds."""
    return finalist.num_failed, not finalist.is_finished, -len(finalist.val)


def describe_order(finalists: Sequence[Finalist]) -> str:
    """Return what finalists are ordered by.

    Args:
        finalists: The finalists.
    """
    failed = "fewest failed seeds, then " if any(item.num_failed for item in finalists) else ""
    seeds = "most seeds, then " if len({len(item.val) for item in finalists if not item.num_failed}) > 1 else ""
    return f"{failed}{seeds}best mean validation score first"
