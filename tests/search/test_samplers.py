"""Samplers: the points of scipy, balance, repetition and seeds."""

from __future__ import annotations

import itertools
import math

import pytest
from scipy.stats import qmc

from trainer.config.search_space import parse_space
from trainer.search.samplers import Observation, Point, SequenceSampler, draw_random, draw_sobol, list_grid
from trainer.search.tpe_sampler import (
    NUM_STARTUP,
    TPESampler,
    decode_parameter,
    encode_parameter,
    make_distribution,
)

SPACE = parse_space(
    ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "batch_size=16,32,64,128", "model.dropout=interval(0,1)"]
)
FINITE = parse_space(["batch_size=16,32,64,128", "model.hidden_size=int(interval(1,16))"])


def take(points: object, count: int = 10**6) -> list[Point]:
    return list(itertools.islice(points, count))  # type: ignore[call-overload]


def test_sobol_is_the_scrambled_sequence_of_scipy() -> None:
    reference = qmc.Sobol(3, scramble=True, rng=7).random(64)
    found = take(draw_sobol(SPACE, 7), 64)
    assert [float(point["model.dropout"]) for point in found] == pytest.approx(reference[:, 2], abs=5e-4)
    logs = [(math.log10(float(point["optimizer.lr"])) + 4) / 3 for point in found]
    assert logs == pytest.approx(reference[:, 0], abs=5e-4)
    assert [SPACE.dimensions[1].pick(u) for u in reference[:, 1]] == [point["batch_size"] for point in found]


def test_sobol_is_balanced_and_random_points_are_not() -> None:
    sobol, independent = (
        [point["batch_size"] for point in take(draw(SPACE, 0), 64)] for draw in (draw_sobol, draw_random)
    )
    assert [sobol.count(name) for name in ("16", "32", "64", "128")] == [16] * 4
    assert [independent.count(name) for name in ("16", "32", "64", "128")] != [16] * 4


@pytest.mark.parametrize("draw", [draw_sobol, draw_random])
def test_points_depend_on_the_seed_alone_and_repeat_nothing(draw) -> None:
    assert take(draw(SPACE, 1), 40) == take(draw(SPACE, 1), 80)[:40]
    assert take(draw(SPACE, 1), 40) != take(draw(SPACE, 2), 40)
    everything = take(draw(FINITE, 0))
    assert len(everything) == len({tuple(point.items()) for point in everything}) == 64


def test_grid_is_that_of_a_sweep() -> None:
    found = take(list_grid(parse_space(["batch_size=16,32", "epochs=1,2"])))
    assert [tuple(point.values()) for point in found] == [("16", "1"), ("16", "2"), ("32", "1"), ("32", "2")]
    sampler = SequenceSampler(FINITE, list_grid(FINITE))
    assert [len(sampler.propose(60, [])), len(sampler.propose(60, [])), len(sampler.propose(60, []))] == [60, 4, 0]


def score(point: Point) -> float:
    """Return a loss with its minimum at lr 0.01 and batches of 64."""
    return (math.log10(float(point["optimizer.lr"])) + 2) ** 2 + abs(int(point["batch_size"]) - 64) / 64


def run_tpe(seed: int, count: int, batch: int) -> list[Observation]:
    sampler, observed = TPESampler(SPACE, seed), list[Observation]()
    while len(observed) < count:
        observed += [Observation(point, score(point)) for point in sampler.propose(batch, observed)]
    return observed


def test_tpe_is_a_function_of_what_it_has_observed() -> None:
    observed = run_tpe(0, NUM_STARTUP + 8, 4)
    again = TPESampler(SPACE, 0).propose(4, observed)
    assert TPESampler(SPACE, 0).propose(4, observed) == again
    best = min(observed, key=lambda item: item.score or 0.0)
    changed = [item._replace(score=None) if item is best else item for item in observed]
    assert TPESampler(SPACE, 0).propose(4, changed) != again
    assert [item.point for item in observed[:NUM_STARTUP]] == take(draw_sobol(SPACE, 0), NUM_STARTUP)


def test_tpe_finds_better_points_than_a_sobol_sequence() -> None:
    better = 0
    for seed in range(5):
        best = min(item.score for item in run_tpe(seed, 40, 4) if item.score is not None)
        better += best < min(score(point) for point in take(draw_sobol(SPACE, seed), 40))
    assert better >= 4


def test_tpe_ends_with_a_finite_space() -> None:
    space = parse_space(["batch_size=16,32,64", "model=mlp,lstm,gru,rnn"])
    sampler, observed = TPESampler(space, 0), list[Observation]()
    while points := sampler.propose(4, observed):
        observed += [Observation(point, 1.0) for point in points]
    assert len({tuple(item.point.items()) for item in observed}) == len(observed) == 12


@pytest.mark.parametrize(
    "word", ["batch_size=16,32", "model=mlp,lstm", "optimizer.lr=interval(0.1,0.2)", "data.rows=int(interval(3,9))"]
)
def test_values_survive_the_parameters_of_optuna(word: str) -> None:
    (dimension,) = parse_space([word]).dimensions
    for value in dimension.extremes:
        parameter = encode_parameter(dimension, value)
        assert make_distribution(dimension)._contains(make_distribution(dimension).to_internal_repr(parameter))
        assert decode_parameter(dimension, parameter) == value


def test_tpe_goes_on_after_points_that_were_refused() -> None:
    """Points without a trial are not proposed again, neither at the start nor later."""
    sampler, observed = TPESampler(SPACE, 0), list[Observation]()
    first = sampler.propose(NUM_STARTUP, observed)
    further = sampler.propose(6, observed)  # six were merged with others, so they are not observed
    assert [*first, *further] == take(draw_sobol(SPACE, 0), NUM_STARTUP + 6)
    observed = [Observation(point, score(point)) for point in [*first[6:], *further]]
    batches = [sampler.propose(4, observed) for _ in range(3)]
    points = [*first, *further, *(point for batch in batches for point in batch)]
    assert len({tuple(point.values()) for point in points}) == NUM_STARTUP + 6 + 12


@pytest.mark.parametrize("is_failing", [True, False])
def test_tpe_avoids_points_whose_runs_fail(is_failing: bool) -> None:
    """All large batches fail; the proposals after 16 trials have them less often than a Sobol sequence."""
    sampler, observed = TPESampler(SPACE, 0), list[Observation]()
    while len(observed) < 64:
        for point in sampler.propose(4, observed):
            fails = is_failing and int(point["batch_size"]) > 16
            observed.append(Observation(point, None if fails else 1.0))
    share = sum(int(item.point["batch_size"]) > 16 for item in observed[40:]) / 24
    assert share < 0.4 if is_failing else share > 0.6
