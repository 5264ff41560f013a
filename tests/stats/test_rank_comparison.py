"""Ranks over data sets, against scipy and published tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trainer.stats.rank_comparison import compare_ranks, compute_critical_difference


def test_critical_differences_are_published_ones() -> None:
    """Demsar 2006: quantiles of table 5 (a), and the difference 1.25 of four classifiers on 14 data sets."""
    quantiles = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
    for number, quantile in enumerate(quantiles, 2):
        assert compute_critical_difference(number, 10) == pytest.approx(
            quantile * np.sqrt(number * (number + 1) / 60), abs=2e-3
        )
    assert compute_critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_p_value_is_that_of_friedman_for_many_data_sets() -> None:
    scores = np.random.default_rng(3).normal(size=(60, 4)) + np.array([0, 0.1, 0.2, 0.6])
    expected = stats.friedmanchisquare(*scores.T).pvalue
    assert 0.005 < expected < 0.3
    assert compare_ranks(scores, higher_is_better=True).p_value == pytest.approx(expected, rel=0.15)


def test_ties_have_their_mean_rank() -> None:
    scores = np.array([[0.9, 0.9, 0.1], [0.5, 0.6, 0.5]])
    expected = np.array([stats.rankdata(-row) for row in scores]).mean(0)
    assert compare_ranks(scores, higher_is_better=True).ranks == pytest.approx(expected)
    assert compare_ranks(scores, higher_is_better=False).ranks == pytest.approx(4 - expected)


def test_two_data_sets_never_show_a_difference_of_three_settings() -> None:
    """Equal orders on two data sets have the probability 1/6; chi-square would give 0.14, and 0.05 on three."""
    scores = np.array([[3.0, 2.0, 1.0]] * 2)
    comparison = compare_ranks(scores, higher_is_better=True)
    assert comparison.p_value == pytest.approx(1 / 6, abs=0.02)
    assert comparison.groups == ((0, 1, 2),)
    assert not comparison.differ(0, 2)


def test_groups_are_what_the_critical_difference_does_not_separate() -> None:
    scores = np.array([[4.0, 3.0, 2.0, 1.0]] * 10)
    comparison = compare_ranks(scores, higher_is_better=True)
    assert comparison.p_value < 0.001
    assert 1 < comparison.critical_difference < 2
    assert comparison.groups == ((0, 1), (1, 2), (2, 3))
    assert comparison.differ(0, 2)
    assert not comparison.differ(0, 1)


def test_equal_scores_show_no_difference() -> None:
    assert compare_ranks(np.ones((8, 3)), higher_is_better=True).p_value == 1.0
