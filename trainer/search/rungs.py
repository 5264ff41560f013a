"""Successive halving: when runs pause, how many continue, and which.

Every decision is a function of the scores and numbers of all trials of a rung. It is taken once they have all paused,
so that it depends neither on the number of workers nor on which of them ends first.

References:
    Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016.
    Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020 (ASHA).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ETA = 4
"""One of so many runs continues at a rung."""
GROWTH = 2
"""Ratio of the steps of one rung to those of the rung before. It is less than ``ETA``, so that the first rung, at which
most runs end, has most of the steps: at 1/16 of its steps, a run whose learning rate is low has not begun to learn.
"""
MAX_PAUSES = 3
"""Maximum number of pauses of a run: at 1/8, 1/4 and 1/2 of its steps."""


@dataclass(frozen=True)
class RunLength:
    """Length of a run.

    Attributes:
        steps: Number of its optimizer steps.
        steps_per_epoch: Number of steps of an epoch.
        val_every: Epochs between validations.
    """

    steps: int
    steps_per_epoch: int
    val_every: int

    def find_pause(self, divisor: int) -> int:
        """Return the step of the last validation up to a fraction of the run, at least that of the first one.

        Args:
            divisor: One of so many steps are taken until then.
        """
        between = self.steps_per_epoch * self.val_every
        return max(1, self.steps // (divisor * between)) * between

    def list_pauses(self, count: int) -> tuple[int, ...]:
        """Return the steps at which the run pauses.

        Args:
            count: Number of pauses.
        """
        return tuple(self.find_pause(GROWTH**power) for power in range(count, 0, -1))


def plan_pauses(lengths: Sequence[RunLength], max_pauses: int = MAX_PAUSES) -> list[tuple[int, ...]]:
    """Return the steps at which each run pauses, the same number of times for all.

    Args:
        lengths: Lengths of the runs.
        max_pauses: Maximum number of pauses.
    """
    for count in range(max_pauses, 0, -1):
        pauses = [length.list_pauses(count) for length in lengths]
        if all(_is_increasing((*steps, length.steps)) for steps, length in zip(pauses, lengths, strict=True)):
            return pauses
    return [() for _ in lengths]


def _is_increasing(steps: Sequence[int]) -> bool:
    return all(first < second for first, second in itertools.pairwise(steps))


def count_per_rung(count: int, num_rungs: int, minimum: int, eta: int = ETA) -> list[int]:
    """Return the number of runs of each rung.

    Args:
        count: Number of runs of the first rung.
        num_rungs: Number of rungs.
        minimum: Number of runs that a rung has at least, if the one before has as many.
        eta: One of so many runs continues.
    """
    counts = [count]
    while len(counts) < num_rungs:
        counts.append(min(counts[-1], max(counts[-1] // eta, minimum, 1)))
    return counts


def rank(scores: Mapping[int, float | None], *, higher_is_better: bool) -> list[int]:
    """Return the numbers of trials, best score first; equal scores in order of the numbers, failed ones last.

    Args:
        scores: Score by number; None or NaN for a run that has failed.
        higher_is_better: Direction of the score.
    """

    def sort_key(number: int) -> tuple[bool, float, int]:
        score = scores[number]
        is_failed = score is None or math.isnan(score)
        return is_failed, 0.0 if score is None or is_failed else -score if higher_is_better else score, number

    return sorted(scores, key=sort_key)


def promote(scores: Mapping[int, float | None], count: int, *, higher_is_better: bool) -> list[int]:
    """Return the numbers of the trials that continue, in ascending order; failed ones never do.

    Args:
        scores: Score by number; None or NaN for a run that has failed.
        count: Number of trials that continue.
        higher_is_better: Direction of the score.
    """
    ranked = [
        number
        for number in rank(scores, higher_is_better=higher_is_better)
        if (score := scores[number]) is not None and not math.isnan(score)
    ]
    return sorted(ranked[:count])


def count_steps(
    lengths: Sequence[RunLength], pauses: Sequence[Sequence[int]], counts: Sequence[int], workers: int = 1
) -> int:
    """Return the largest number of steps that the runs of all rungs can take together, or one of several workers.

    Args:
        lengths: Lengths of the runs.
        pauses: Steps at which each run pauses.
        counts: Number of runs of each rung.
        workers: Number of runs at a time; of each group of so many, the longest one counts.
    """
    total, previous = 0, [0] * len(lengths)
    for rung, count in enumerate(counts):
        ends = [
            steps[rung] if rung < len(steps) else length.steps for steps, length in zip(pauses, lengths, strict=True)
        ]
        increments = sorted((end - start for end, start in zip(ends, previous, strict=True)), reverse=True)
        total += sum(increments[:count:workers])
        previous = ends
    return total
