"""Comparison of the scores of two settings over seeds: difference, interval, p value and verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from trainer.stats.confidence_interval import MIN_SEEDS
from trainer.stats.holm import adjust_p_values
from trainer.stats.power import count_needed_seeds

ALPHA = 0.04
"""Level of the t test. On scores with few different values, such as accuracies on a hundred rows, it rejects up to 1.2
times too often, so that at most 5 % of the claims about equal settings are made."""

ROUNDING = 1e-9
"""Relative spread up to which differences are the same number."""


class Verdict(Enum):
    """What the scores of two settings show."""

    BETTER = "better"
    WORSE = "worse"
    MORE_SEEDS = "more seeds needed"
    NO_DIFFERENCE = "no difference shown"
    MISSING_SCORES = "not decided: seeds without a score"


@dataclass(frozen=True)
class SeedComparison:
    """Difference of two settings over seeds.

    Attributes:
        difference: Mean of the first minus that of the second, over the seeds that are used.
        interval: t interval of the difference, without 0 if it alone is tested and shown; None for fewer than
            ``MIN_SEEDS`` seeds, or for a few equal differences.
        p_value: Of the two-sided t test; None for fewer than ``MIN_SEEDS`` seeds.
        num_seeds: Number of pairs; of unpaired scores, the number of those of the setting with fewer.
        is_paired: Whether the scores are paired by seed.
        effect: Difference in standard deviations, as in ``power.compute_power``; None for a single seed, and for folds:
            the part of their variance that comes from common training rows does not shrink with their number.
    """

    difference: float
    interval: tuple[float, float] | None
    p_value: float | None
    num_seeds: int
    is_paired: bool
    effect: float | None


@dataclass(frozen=True)
class Conclusion:
    """Verdict on the first of two settings, among several comparisons.

    Attributes:
        verdict: What the scores show.
        p_value: p value adjusted for the number of comparisons; None for fewer than ``MIN_SEEDS`` seeds.
        more_seeds: With ``MORE_SEEDS``, about how many more seeds of each setting are needed.
    """

    verdict: Verdict
    p_value: float | None
    more_seeds: int | None = None


def compare_seeds(first: Mapping[str, float], second: Mapping[str, float], overlap: float = 0.0) -> SeedComparison:
    """Compare the scores of two settings over their seeds by a t test.

    Scores with the same seed are paired if every seed, or at least ``MIN_SEEDS``, has both scores: a seed often decides
    about data order or initialization of both settings alike, so that their difference varies less. Else the test is
    that of Welch, with unequal variances.

    The t test is exact for normal scores. Under the hypothesis that two settings are equal, the differences are
    symmetric, for which it rejects less often than stated if they have longer tails; for short-tailed, skewed and
    discrete scores this has been simulated (``tests/bench/statistics.py``). Where all differences are the same number,
    such as accuracies on few rows, there is no standard deviation; then the sign test decides.

    Args:
        first: Scores of the first setting by seed, all finite.
        second: Scores of the second setting by seed, all finite.
        overlap: Test rows per training row, if the scores are those of folds. The training rows of folds overlap, so
            that their scores vary less than those on other data would; the variance is corrected for it.

    Raises:
        ValueError: A setting has no score.

    References:
        Student, The Probable Error of a Mean, Biometrika 1908.
        Welch, The Generalization of Student's Problem when Several Different Population Variances are Involved,
        Biometrika 1947.
        Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 2003 (folds).
    """
    if not first or not second:
        raise ValueError("first, second: each needs the score of a seed")
    common = [seed for seed in first if seed in second]
    if len(common) >= MIN_SEEDS or len(common) == len(first) == len(second):
        return _compare_pairs(np.array([first[seed] - second[seed] for seed in common], dtype=np.float64), overlap)
    groups = [np.array(list(scores.values()), dtype=np.float64) for scores in (first, second)]
    return _compare_groups(groups[0], groups[1], overlap)


def _compare_pairs(differences: np.ndarray, overlap: float) -> SeedComparison:
    number, mean = len(differences), float(differences.mean())
    if number == 1:
        return _make_comparison(mean, None, 1.0, number, True, math.nan)
    deviation = float(differences.std(ddof=1)) * math.sqrt(1 + number * overlap)
    tolerance = ROUNDING * float(np.abs(differences).max())
    if deviation <= tolerance and mean:
        p_value = 2.0 ** (1 - number)
        bounds = (mean, mean) if p_value <= ALPHA else None
        return _make_comparison(mean, bounds, p_value, number, True, math.copysign(math.inf, mean))
    effect = None if overlap else 0.0 if deviation <= tolerance else mean / deviation
    bounds, p_value = _test_t(mean, deviation / math.sqrt(number), number - 1)
    return _make_comparison(mean, bounds, p_value, number, True, effect)


def _compare_groups(first: np.ndarray, second: np.ndarray, overlap: float) -> SeedComparison:
    mean, number = float(first.mean() - second.mean()), min(len(first), len(second))
    if number < 2:
        return _make_comparison(mean, None, 1.0, number, False, math.nan)
    variances = [float(sample.var(ddof=1)) * (1 / len(sample) + overlap) for sample in (first, second)]
    error = math.sqrt(sum(variances))
    if mean and error <= ROUNDING * abs(mean):
        # Two constants: of all orders of the scores, two separate the settings as much.
        p_value = 2 / math.comb(len(first) + len(second), number)
        bounds = (mean, mean) if p_value <= ALPHA else None
        return _make_comparison(mean, bounds, p_value, number, False, math.copysign(math.inf, mean))
    sizes = (len(first), len(second))
    degrees = error**4 / sum(v**2 / (size - 1) for v, size in zip(variances, sizes, strict=True)) if error else 1.0
    bounds, p_value = _test_t(mean, error, degrees)
    pooled = math.sqrt(float(first.var(ddof=1) + second.var(ddof=1)) / 2)
    effect = None if overlap else mean / pooled if pooled else 0.0
    return _make_comparison(mean, bounds, p_value, number, False, effect)


def _test_t(mean: float, error: float, degrees: float) -> tuple[tuple[float, float], float]:
    """Return the interval and the p value of a mean with its standard error."""
    from scipy.special import stdtr, stdtrit

    if not error or degrees < 1:
        return (mean, mean), 1.0
    half_width = float(stdtrit(degrees, 1 - ALPHA / 2)) * error
    return (mean - half_width, mean + half_width), float(2 * stdtr(degrees, -abs(mean) / error))


def _make_comparison(
    mean: float, bounds: tuple[float, float] | None, p_value: float, number: int, is_paired: bool, effect: float | None
) -> SeedComparison:
    """Build a comparison, without an interval and a p value for too few seeds."""
    known_effect = effect if effect is not None and not math.isnan(effect) else None
    if number < MIN_SEEDS:
        return SeedComparison(mean, None, None, number, is_paired, known_effect)
    return SeedComparison(mean, bounds, p_value, number, is_paired, known_effect)


def draw_conclusions(
    comparisons: Sequence[SeedComparison], *, higher_is_better: bool, num_tests: int = 0, alpha: float = ALPHA
) -> list[Conclusion]:
    """Conclude from several comparisons, with the correction of Holm.

    Args:
        comparisons: The comparisons.
        higher_is_better: Direction of the metric.
        num_tests: Number of comparisons of which these were selected by scores; by default that of these. The best of
            K equal settings by validation shares the luck of its seeds with the test scores, so that its comparisons
            with each other one count as those of all K (K - 1) / 2 pairs.
        alpha: Probability that any of the claims is false.

    Returns:
        One conclusion of each comparison, in order.
    """
    tested = [comparison.p_value for comparison in comparisons if comparison.p_value is not None]
    adjusted = iter(adjust_p_values(tested, num_tests))
    p_values = [None if comparison.p_value is None else next(adjusted) for comparison in comparisons]
    # Which step of Holm a comparison will be at with more seeds is unknown; this one suffices at each of them.
    strictest = alpha / max(1, num_tests, len(comparisons))
    return [
        _plan(comparison, p_value, strictest)
        if p_value is None or p_value > alpha
        else _claim(comparison, p_value, higher_is_better)
        for comparison, p_value in zip(comparisons, p_values, strict=True)
    ]


def _claim(comparison: SeedComparison, p_value: float, higher_is_better: bool) -> Conclusion:
    is_better = (comparison.difference > 0) == higher_is_better
    return Conclusion(Verdict.BETTER if is_better else Verdict.WORSE, p_value)


def _plan(comparison: SeedComparison, p_value: float | None, level: float) -> Conclusion:
    """Conclude from a comparison that shows no difference by the number of seeds with which it would."""
    number, effect = comparison.num_seeds, comparison.effect
    needed = None if effect is None else _count_needed(effect, level, comparison.is_paired)
    if needed is None and p_value is None:
        return Conclusion(Verdict.MORE_SEEDS, p_value, MIN_SEEDS - number)
    if needed is None:
        return Conclusion(Verdict.NO_DIFFERENCE, p_value)
    return Conclusion(Verdict.MORE_SEEDS, p_value, max(needed, MIN_SEEDS, number + 1) - number)


def _count_needed(effect: float, level: float, is_paired: bool) -> int | None:
    if math.isinf(effect):  # the sign test
        return math.ceil(1 - math.log2(level))
    return count_needed_seeds(effect, level, is_paired=is_paired)
