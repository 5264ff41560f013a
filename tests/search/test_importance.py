"""Importance of keys: found where it is, shared where it is, and refused where it cannot be known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

from trainer.config.search_space import Space, parse_space
from trainer.search.importance import Importance, estimate_importance
from trainer.search.rungs import RunLength
from trainer.search.samplers import Point, draw_sobol
from trainer.search.trial import Trial

SPACE = parse_space(["optimizer.lr=tag(log,interval(1e-4,1e-1))", "batch_size=16,32,64", "model.dropout=interval(0,1)"])


def estimate(score: Callable[[Point], float | None], count: int = 40, space: Space = SPACE) -> Importance:
    points = itertools.islice(draw_sobol(space, 0), count)
    trials = [
        Trial(number, point, point, None, Path(), RunLength(9, 3, 1), (3,), scores=[score(point)])
        for number, point in enumerate(points)
    ]
    return estimate_importance(space, trials, 0)


def test_key_that_decides_the_score_is_first() -> None:
    found = estimate(lambda point: math.log(float(point["optimizer.lr"])))
    assert next(iter(found.shares)) == "optimizer.lr"
    assert found.shares["optimizer.lr"] > 0.9
    assert sum(found.shares.values()) == 1
    assert (found.step, found.num_scores) == (3, 40)
    assert found.explained is not None
    assert found.explained > 0.9


def test_two_keys_share_it_and_one_diverged_run_does_not_hide_it() -> None:
    def score(point: Point) -> float:
        value = math.log10(float(point["optimizer.lr"])) / 3 + float(point["model.dropout"])
        return -1e30 if float(point["optimizer.lr"]) > 0.09 else value

    found = estimate(score, 64)
    assert list(found.shares)[2] == "batch_size"
    assert min(found.shares["optimizer.lr"], found.shares["model.dropout"]) > 0.2


def test_noise_explains_nothing() -> None:
    found = estimate(lambda point: math.sin(1e6 * float(point["model.dropout"])))
    assert "do not explain" in found.reason
    assert not found.shares


def test_too_few_scores_or_keys_are_named() -> None:
    assert estimate(lambda _: 1.0, 8).reason == "8 scores; at least 16 are needed"
    assert estimate(lambda _: None).reason == "0 scores; at least 16 are needed"
    assert estimate(lambda _: 1.0).reason == "all scores are equal"
    assert estimate(lambda _: 1.0, space=parse_space(["optimizer.lr=interval(0,1)"])).reason == "there is one key only"


def test_key_that_a_trial_does_not_have_is_no_obstacle() -> None:
    points = list(itertools.islice(draw_sobol(SPACE, 0), 40))
    trials = []
    for number, point in enumerate(points):
        values = point if number % 2 else {key: value for key, value in point.items() if key != "batch_size"}
        trials.append(Trial(number, point, values, None, Path(), RunLength(9, 3, 1), scores=[float(number % 2)]))
    assert next(iter(estimate_importance(SPACE, trials, 0).shares)) == "batch_size"


def test_equal_scores_do_not_depend_on_the_order_of_trials() -> None:
    """Half of the scores are equal; the trials that have them come in order of another key, which explains nothing."""
    points = sorted(itertools.islice(draw_sobol(SPACE, 0), 64), key=lambda point: float(point["model.dropout"]))
    trials = [
        Trial(number, point, point, None, Path(), RunLength(9, 3, 1), scores=[max(0.0, number % 8 - 6.0)])
        for number, point in enumerate(points)
    ]
    assert "do not explain" in estimate_importance(SPACE, trials, 0).reason
