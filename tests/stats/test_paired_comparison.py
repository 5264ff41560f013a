"""Comparison of settings over seeds: tests of scipy, verdicts, and simulated false claims and power."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.helpers.simulated_scores import KINDS, measure_claims
from trainer.stats.paired_comparison import (
    ALPHA,
    SeedComparison,
    Verdict,
    compare_seeds,
    draw_conclusions,
)


def draw_scores(seed: int, size: int, first: int = 0) -> dict[str, float]:
    values = np.random.default_rng(seed).normal(size=size).tolist()
    return {str(first + number): value for number, value in enumerate(values)}


def conclude(comparison: SeedComparison, *, higher_is_better: bool = True) -> tuple[Verdict, int | None]:
    (conclusion,) = draw_conclusions([comparison], higher_is_better=higher_is_better)
    return conclusion.verdict, conclusion.more_seeds


def test_scores_with_the_same_seeds_are_paired() -> None:
    first, second = draw_scores(0, 6), draw_scores(1, 6)
    shuffled = dict(sorted(second.items(), reverse=True))
    comparison = compare_seeds(first, shuffled)
    expected = stats.ttest_rel([*first.values()], [*second.values()])
    assert comparison.p_value == pytest.approx(expected.pvalue)
    assert comparison.interval == pytest.approx(tuple(expected.confidence_interval(1 - ALPHA)))
    assert comparison.is_paired


def test_scores_with_other_seeds_are_not_paired() -> None:
    first, second = draw_scores(0, 6), draw_scores(1, 9, first=3)
    comparison = compare_seeds(first, second)  # three seeds in common
    expected = stats.ttest_ind([*first.values()], [*second.values()], equal_var=False)
    assert comparison.p_value == pytest.approx(expected.pvalue)
    assert comparison.interval == pytest.approx(tuple(expected.confidence_interval(1 - ALPHA)))
    assert not comparison.is_paired
    assert compare_seeds(first, draw_scores(1, 9, first=1)).num_seeds == 5, "five seeds in common are paired"


def test_folds_share_training_rows() -> None:
    """Ten folds: the variance is 1/10 + 1/9 of that of the differences (Nadeau and Bengio), instead of 1/10."""
    first, second = draw_scores(0, 10), draw_scores(1, 10)
    differences = np.array([*first.values()]) - np.array([*second.values()])
    statistic = differences.mean() / np.sqrt((1 / 10 + 1 / 9) * differences.var(ddof=1))
    expected = 2 * stats.t.sf(abs(statistic), 9)
    assert compare_seeds(first, second, 1 / 9).p_value == pytest.approx(expected)


def test_folds_that_are_not_paired_share_training_rows_too() -> None:
    """Welch's test with the variances s^2 (1/5 + 1/9) and s^2 (1/8 + 1/9), and its degrees of freedom."""
    first, second = draw_scores(0, 5), draw_scores(1, 8, first=5)
    samples = [np.array([*scores.values()]) for scores in (first, second)]
    variances = np.array([sample.var(ddof=1) * (1 / len(sample) + 1 / 9) for sample in samples])
    degrees = variances.sum() ** 2 / (variances**2 / np.array([4, 7])).sum()
    statistic = (samples[0].mean() - samples[1].mean()) / np.sqrt(variances.sum())
    comparison = compare_seeds(first, second, 1 / 9)
    assert not comparison.is_paired
    assert comparison.p_value == pytest.approx(2 * stats.t.sf(abs(statistic), degrees))
    assert comparison.p_value > (compare_seeds(first, second).p_value or 0)


@pytest.mark.parametrize("first", [0, 5])
def test_no_number_of_more_folds_is_said(first: int) -> None:
    """The error of five folds tends to sqrt(overlap) of a standard deviation, however many are added."""
    other = {str(first + number): value for number, value in enumerate([0.2, -0.9, 0.4, -1.3, 0.3])}
    comparison = compare_seeds(dict.fromkeys("01234", 0.5), other, 1 / 4)
    assert comparison.is_paired is (first == 0)
    assert conclude(comparison) == (Verdict.NO_DIFFERENCE, None)
    assert conclude(compare_seeds(dict.fromkeys("01234", 0.5), other))[0] is Verdict.MORE_SEEDS
    few = {str(first + number): 0.1 * number for number in range(2)}
    assert conclude(compare_seeds(dict.fromkeys("01", 0.5), few, 1.0)) == (Verdict.MORE_SEEDS, 2)


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_three_seeds_never_claim(seeds: int) -> None:
    names = [str(number) for number in range(seeds)]
    comparison = compare_seeds(dict.fromkeys(names, 0.99), {name: 0.01 + 0.001 * int(name) for name in names})
    assert (comparison.p_value, comparison.interval) == (None, None)
    assert conclude(comparison) == (Verdict.MORE_SEEDS, 4 - seeds)
    unpaired = compare_seeds(dict.fromkeys(names, 0.99), dict.fromkeys("abcdefgh", 0.01))
    assert conclude(unpaired)[0] is Verdict.MORE_SEEDS


def test_the_direction_of_the_metric_decides_who_is_better() -> None:
    first, second = draw_scores(0, 6), {key: value - 5 for key, value in draw_scores(1, 6).items()}
    assert conclude(compare_seeds(first, second)) == (Verdict.BETTER, None)
    assert conclude(compare_seeds(second, first)) == (Verdict.WORSE, None)
    assert conclude(compare_seeds(first, second), higher_is_better=False) == (Verdict.WORSE, None)


def test_equal_scores_show_no_difference() -> None:
    scores = dict.fromkeys("01234", 0.9)
    comparison = compare_seeds(scores, scores)
    assert (comparison.difference, comparison.p_value) == (0.0, 1.0)
    assert conclude(comparison) == (Verdict.NO_DIFFERENCE, None)


@pytest.mark.parametrize(("seeds", "verdict"), [(5, Verdict.MORE_SEEDS), (6, Verdict.BETTER)])
@pytest.mark.parametrize("paired", [True, False])
def test_constant_differences_are_decided_by_counting(seeds: int, verdict: Verdict, paired: bool) -> None:
    """Five times the same difference are as likely as five heads or tails, 1 / 16; six are 1 / 32."""
    names = [str(number) for number in range(seeds)]
    others = names if paired else [f"other {name}" for name in names]
    comparison = compare_seeds(dict.fromkeys(names, 0.3), dict.fromkeys(others, 0.1))
    assert conclude(comparison)[0] is (verdict if paired else Verdict.BETTER)


def test_more_seeds_are_those_that_the_power_needs() -> None:
    differences = [1.0, -0.3, 1.1, -0.2, 1.2]
    first = {str(number): value for number, value in enumerate(differences)}
    comparison = compare_seeds(first, dict.fromkeys(first, 0.0))
    verdict, more = conclude(comparison)
    assert verdict is Verdict.MORE_SEEDS
    assert more is not None
    assert comparison.effect == pytest.approx(np.mean(differences) / np.std(differences, ddof=1))
    shift, degrees = comparison.effect * np.sqrt(5 + more), 4 + more
    power = stats.nct.sf(stats.t.ppf(1 - ALPHA / 2, degrees), degrees, shift)
    assert 0.79 <= power <= 0.84
    (first_of_many, *_) = draw_conclusions([comparison] * 5, higher_is_better=True)
    assert (first_of_many.more_seeds or 0) > more, "five comparisons need more"


def test_a_difference_far_below_the_noise_needs_no_number() -> None:
    scores = draw_scores(0, 8)
    other = {key: value + 0.001 for key, value in draw_scores(0, 8).items()}
    noisy = {key: value + (0.5 if int(key) % 2 else -0.5) for key, value in other.items()}
    assert conclude(compare_seeds(scores, noisy)) == (Verdict.NO_DIFFERENCE, None)


def test_a_setting_without_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="each needs the score of a seed"):
        compare_seeds({}, {"0": 1.0})


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_equal_settings_are_rarely_called_different(kind: str) -> None:
    """Full size: tests/bench/statistics.py."""
    for paired in (True, False):
        assert measure_claims(KINDS[kind], 3, pairs=100, paired=paired) == 0
        assert measure_claims(KINDS[kind], 6, pairs=1000, paired=paired) <= 0.06


@pytest.mark.slow
def test_power_is_that_of_theory() -> None:
    degrees, shift = 9, np.sqrt(10 / 2)
    expected = stats.nct.sf(stats.t.ppf(1 - ALPHA / 2, degrees), degrees, shift)
    assert measure_claims(KINDS["normal"], 10, 1.0, pairs=1000) == pytest.approx(expected, abs=0.05)
