"""BCa interval of a mean, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trainer.stats.confidence_interval import compute_mean_interval


@pytest.mark.parametrize("seed", range(4))
def test_interval_is_that_of_scipy(seed: int) -> None:
    sample = np.exp(np.random.default_rng(seed).normal(size=12))
    expected = stats.bootstrap((sample,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1))
    interval = compute_mean_interval(sample.tolist(), resamples=20_000)
    width = expected.confidence_interval.high - expected.confidence_interval.low
    assert interval == pytest.approx(tuple(expected.confidence_interval), abs=0.04 * width)
    percentiles = np.quantile(sample[np.random.default_rng(2).integers(12, size=(20_000, 12))].mean(1), [0.025, 0.975])
    assert interval != pytest.approx(tuple(percentiles), abs=0.02 * width), "skewed scores need the correction"


def test_too_few_scores_have_no_interval() -> None:
    assert compute_mean_interval([]) is None
    assert compute_mean_interval([0.5, 0.6, 0.7]) is None
    assert compute_mean_interval([0.5, 0.6, 0.7, float("nan")]) is None


def test_equal_scores_have_an_interval_without_width() -> None:
    assert compute_mean_interval([0.9] * 5) == (pytest.approx(0.9), pytest.approx(0.9))


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0, 1.0], [1e-300, 2e-300, 1e-300, 3e-300], [1e9, 1e9 + 1, 1e9, 1e9]])
def test_bounds_are_finite_and_within_the_scores(values: list[float]) -> None:
    interval = compute_mean_interval(values)
    assert interval is not None
    assert min(values) <= interval[0] <= interval[1] <= max(values)


def test_interval_is_always_the_same() -> None:
    values = [0.1, 0.5, 0.3, 0.9, 0.2]
    assert compute_mean_interval(values) == compute_mean_interval(values)
