"""Ranks of settings over several data sets: Friedman test and critical difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trainer.stats.confidence_interval import SEED

ALPHA = 0.05
"""Level of the test."""
PERMUTATIONS = 10_000


@dataclass(frozen=True)
class RankComparison:
    """Average ranks of K settings over N data sets.

    Attributes:
        ranks: Average rank of each setting, 1 for the best.
        num_datasets: Number of data sets N.
        p_value: Of the hypothesis that all settings are equal.
        critical_difference: Difference of average ranks from which two settings differ, if not all are equal.
        groups: Settings that are not shown to differ, as indices from the best to the worst rank; each group that is
            in no larger one.
    """

    ranks: tuple[float, ...]
    num_datasets: int
    p_value: float
    critical_difference: float
    groups: tuple[tuple[int, ...], ...]

    def differ(self, first: int, second: int) -> bool:
        """Return whether two settings are shown to differ.

        Args:
            first: Index of a setting.
            second: Index of another one.
        """
        distance = abs(self.ranks[first] - self.ranks[second])
        return self.p_value <= ALPHA and distance > self.critical_difference


def compare_ranks(scores: np.ndarray, *, higher_is_better: bool) -> RankComparison:
    """Rank settings on each data set, and compare the average ranks.

    The test is that of Friedman; its p value is the share of permutations of ranks within data sets with a statistic as
    large, which holds for two data sets as well as for many, where the usual chi-square distribution is far off.
    Pairs are compared by the critical difference of Nemenyi, and only if the test shows that not all are equal. Ties
    have their mean rank.

    Args:
        scores: Scores (N, K) of K >= 2 settings on N data sets, all finite.
        higher_is_better: Direction of the metrics.

    References:
        Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 2006.
    """
    ranks = _rank_rows(-scores if higher_is_better else scores)
    number, settings = ranks.shape
    average = ranks.mean(0)
    difference = compute_critical_difference(settings, number)
    p_value = _permute_ranks(ranks)
    order = average.argsort(kind="stable").tolist()
    limit = difference if p_value <= ALPHA else math.inf
    groups: list[tuple[int, ...]] = []
    for start, first in enumerate(order):
        group = tuple(index for index in order[start:] if average[index] - average[first] <= limit)
        if len(group) > 1 and not any(set(group) <= set(larger) for larger in groups):
            groups.append(group)
    return RankComparison(tuple(average.tolist()), number, p_value, difference, tuple(groups))


def compute_critical_difference(num_settings: int, num_datasets: int, alpha: float = ALPHA) -> float:
    """Return the critical difference of Nemenyi between average ranks.

    Args:
        num_settings: Number of settings K.
        num_datasets: Number of data sets N.
        alpha: Level of the test.
    """
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - alpha, num_settings, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(num_settings * (num_settings + 1) / (6 * num_datasets))


def _rank_rows(values: np.ndarray) -> np.ndarray:
    """Return the ranks (N, K) of the values of each row, 1 for the lowest; ties have their mean rank."""
    below = (values[:, :, None] > values[:, None, :]).sum(2)
    equal = (values[:, :, None] == values[:, None, :]).sum(2)
    ranks: np.ndarray = below + (equal + 1) / 2
    return ranks


def _permute_ranks(ranks: np.ndarray) -> float:
    """Return the share of permutations whose rank sums differ at least as much, the observed one included."""
    generator = np.random.default_rng(SEED)
    observed = float((ranks.sum(0) ** 2).sum())
    sums = np.zeros((PERMUTATIONS, ranks.shape[1]))
    for row in ranks:
        sums += generator.permuted(np.broadcast_to(row, sums.shape), axis=1)
    # Within data sets the variance of the ranks is the same for every permutation, so that it cancels.
    count = int(((sums**2).sum(1) >= observed - 1e-9).sum())
    return (count + 1) / (PERMUTATIONS + 1)
