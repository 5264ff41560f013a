"""Bootstrap over test rows, against closed forms and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trainer.stats import row_bootstrap
from trainer.stats.row_bootstrap import RowTerms, compute_percentile_interval, resample_scores

RNG = np.random.default_rng(0)
CORRECT, OTHER = RNG.random((2, 400)) < 0.8


def make_terms(values: np.ndarray, transform: str = "mean") -> RowTerms:
    return RowTerms(values.astype(float), np.ones(len(values)), transform)


def test_interval_is_that_of_scipy() -> None:
    sample = resample_scores([[make_terms(CORRECT)]], resamples=8000)[:, 0]
    expected = stats.bootstrap((CORRECT,), np.mean, n_resamples=8000, method="percentile", rng=RNG).confidence_interval
    assert compute_percentile_interval(sample) == pytest.approx((expected.low, expected.high), abs=0.005)


def test_differences_are_paired_by_row() -> None:
    """Two models that err on nearly the same rows differ much less than their scores vary."""
    similar = CORRECT.copy()
    similar[:4] = ~similar[:4]
    scores = resample_scores([[make_terms(CORRECT)], [make_terms(similar)], [make_terms(OTHER)]])
    for other, values in ((1, similar), (2, OTHER)):
        spread = float((scores[:, 0] - scores[:, other]).std())
        assert spread == pytest.approx(np.std(CORRECT * 1.0 - values) / 20, rel=0.06)
    assert scores[:, 0].std() > 3 * (scores[:, 0] - scores[:, 1]).std()


def test_the_mean_over_runs_varies_as_its_rows() -> None:
    scores = resample_scores([[make_terms(CORRECT), make_terms(OTHER)]])
    assert scores[:, 0].std() == pytest.approx(((CORRECT * 1.0 + OTHER) / 2).std() / 20, rel=0.06)


def test_ratios_and_transforms() -> None:
    tokens = RNG.integers(1, 50, size=400).astype(float)
    losses = tokens * RNG.gamma(2, 1, size=400)
    terms = RowTerms(losses, tokens, "exp")
    assert terms.compute_score() == pytest.approx(np.exp(losses.sum() / tokens.sum()))
    ratio = losses.sum() / tokens.sum()
    error = np.sqrt(((losses - ratio * tokens) ** 2).sum()) / tokens.sum()  # of the ratio, by linearization
    sample = resample_scores([[terms]])[:, 0]
    assert np.log(sample).std() == pytest.approx(error, rel=0.06)
    assert make_terms(np.array([1.0, 4.0]), "sqrt").compute_score() == pytest.approx(np.sqrt(2.5))


def test_many_rows_are_resampled_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_bootstrap, "MAX_UNITS", 100)
    sample = resample_scores([[make_terms(CORRECT)]])[:, 0]
    assert sample.std() == pytest.approx(CORRECT.std() / 20, rel=0.25)
    assert sample.mean() == pytest.approx(CORRECT.mean(), abs=0.003)


def test_other_numbers_of_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"runs with \[3, 400\] rows"):
        resample_scores([[make_terms(CORRECT)], [make_terms(np.ones(3))]])


def test_undefined_scores_have_no_interval() -> None:
    assert compute_percentile_interval(np.full(5, np.nan)) is None
    assert not np.isfinite(RowTerms(np.zeros(2), np.zeros(2)).compute_score())
