"""Successive halving: pauses, numbers of runs, promotions and the cost of a plan."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.search.rungs import RunLength, count_per_rung, count_steps, plan_pauses, promote, rank


@pytest.mark.parametrize(
    ("length", "pauses"),
    [
        (RunLength(160, 10, 1), (20, 40, 80)),
        (RunLength(100, 10, 1), (10, 20, 50)),  # 1.25 and 2.5 epochs: the last one before
        (RunLength(110, 10, 1), (10, 20, 50)),
        (RunLength(640, 10, 4), (80, 160, 320)),  # a pause is a validation
        (RunLength(50, 10, 1), (10, 20)),
        (RunLength(20, 10, 1), (10,)),
        (RunLength(10, 10, 1), ()),
        (RunLength(25, 10, 1), (10,)),  # max_steps within an epoch
        (RunLength(7, 10, 1), ()),
    ],
)
def test_pauses_are_validations_before_the_end(length: RunLength, pauses: tuple[int, ...]) -> None:
    assert plan_pauses([length]) == [pauses]


def test_all_runs_pause_equally_often() -> None:
    assert plan_pauses([RunLength(1600, 10, 1), RunLength(20, 10, 1)]) == [(800,), (10,)]


@given(st.integers(1, 5000), st.integers(1, 200), st.integers(1, 7))
def test_pauses_ascend_and_end_with_validated_epochs(steps: int, steps_per_epoch: int, val_every: int) -> None:
    (pauses,) = plan_pauses([RunLength(steps, steps_per_epoch, val_every)])
    assert [*pauses, steps] == sorted({*pauses, steps})
    assert all(step % (steps_per_epoch * val_every) == 0 for step in pauses)


@pytest.mark.parametrize(
    ("count", "minimum", "counts"),
    [(64, 2, [64, 16, 4]), (10, 2, [10, 2, 2]), (16, 3, [16, 4, 3]), (1, 2, [1, 1, 1]), (3, 1, [3, 1, 1])],
)
def test_a_quarter_continues_but_enough_for_the_finalists(count: int, minimum: int, counts: list[int]) -> None:
    assert count_per_rung(count, 3, minimum) == counts


def test_a_grid_of_64_takes_a_quarter_of_its_steps_with_finalists() -> None:
    lengths = [RunLength(1600, 10, 1)] * 64
    steps = count_steps(lengths, plan_pauses(lengths), count_per_rung(64, 4, 2))
    assert steps == 64 * 200 + 16 * 200 + 4 * 400 + 2 * 800
    assert (steps + 2 * 2 * 1600) / (64 * 1600) == 0.25


def test_cost_assumes_that_the_longest_runs_continue() -> None:
    lengths = [RunLength(160, 10, 1), RunLength(320, 10, 1)]
    assert count_steps(lengths, plan_pauses(lengths), [2, 1, 1, 1]) == 20 + 40 + 40 + 80 + 160


def test_ranking_puts_failures_last_and_ties_in_order() -> None:
    scores = {0: None, 1: 0.5, 2: math.nan, 3: 0.7, 4: 0.5}
    assert rank(scores, higher_is_better=True) == [3, 1, 4, 0, 2]
    assert rank(scores, higher_is_better=False) == [1, 4, 3, 0, 2]


@given(st.dictionaries(st.integers(0, 99), st.none() | st.floats(-9, 9), min_size=1), st.integers(0, 9), st.booleans())
def test_promotion_depends_on_scores_alone(scores: dict[int, float | None], count: int, higher: bool) -> None:
    chosen = promote(scores, count, higher_is_better=higher)
    reordered = dict(sorted(scores.items(), reverse=True))
    assert promote(reordered, count, higher_is_better=higher) == chosen == sorted(chosen)
    assert len(chosen) == min(count, sum(score is not None for score in scores.values()))
    sign = 1 if higher else -1
    rest = [sign * score for number, score in scores.items() if score is not None and number not in chosen]
    assert all(
        sign * value >= max(rest, default=-math.inf) for number in chosen if (value := scores[number]) is not None
    )
