"""Choice of the decision threshold on the probability of the second of two classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class ThresholdCounts(NamedTuple):
    """Rows of each kind at several thresholds, ``(K,)`` each.

    Attributes:
        true_positives: Rows of the second class that are predicted as such.
        false_positives: Rows of the first class that are predicted as the second.
        positives: Number of rows of the second class, a scalar.
        negatives: Number of rows of the first class, a scalar.
    """

    true_positives: Tensor
    false_positives: Tensor
    positives: Tensor
    negatives: Tensor


def count_at_thresholds(probability: Tensor, positive: Tensor, thresholds: Tensor) -> ThresholdCounts:
    """Count the rows whose probability is at least each threshold.

    Args:
        probability: Probability of the second class ``(N,)``.
        positive: Whether each row has the second class ``(N,)``, bool.
        thresholds: Thresholds ``(K,)``.
    """
    true_positives, false_positives = (
        len(values) - torch.searchsorted(values, thresholds)
        for values in (probability[part].sort().values for part in (positive, ~positive))
    )
    return ThresholdCounts(true_positives, false_positives, positive.sum(), (~positive).sum())


def list_thresholds(probability: Tensor) -> Tensor:
    """Return a threshold for each distinct set of predicted rows ``(K,)``: 0, and midpoints of adjacent probabilities.

    Args:
        probability: Probability of the second class ``(N,)``.
    """
    values = probability.unique()
    upper = torch.cat((values[1:], values.new_ones(1)))
    midpoints = (values + upper) / 2
    return torch.cat((values.new_zeros(1), midpoints[midpoints > values]))


def score_thresholds(counts: ThresholdCounts, criterion: str, costs: Sequence[float] | None) -> Tensor:
    """Return the value ``(K,)`` of each threshold; higher is better.

    ``f1`` is the F1 score of the second class, ``balanced_accuracy`` the mean recall of both classes, and ``cost`` the
    negative mean cost per row.

    Args:
        counts: Rows of each kind at the thresholds.
        criterion: ``f1``, ``balanced_accuracy`` or ``cost``.
        costs: Costs of a false positive and of a false negative, for ``cost``.
    """
    true_positives, false_positives = counts.true_positives.double(), counts.false_positives.double()
    false_negatives = counts.positives - true_positives
    if criterion == "f1":
        return 2 * true_positives / (2 * true_positives + false_positives + false_negatives).clamp(min=1)
    if criterion == "balanced_accuracy":
        specificity = 1 - false_positives / counts.negatives.clamp(min=1)
        return (true_positives / counts.positives.clamp(min=1) + specificity) / 2
    assert costs is not None
    total = costs[0] * false_positives + costs[1] * false_negatives
    return -total / (counts.positives + counts.negatives)


def choose_threshold(
    probability: Tensor, positive: Tensor, criterion: str, costs: Sequence[float] | None = None
) -> float:
    """Return the best threshold; of several, the one nearest to 0.5.

    Args:
        probability: Probability of the second class ``(N,)``, float64.
        positive: Whether each row has the second class ``(N,)``, bool.
        criterion: ``f1``, ``balanced_accuracy`` or ``cost``, as in ``score_thresholds``.
        costs: Costs of a false positive and of a false negative, for ``cost``.
    """
    thresholds = list_thresholds(probability)
    values = score_thresholds(count_at_thresholds(probability, positive, thresholds), criterion, costs)
    best = thresholds[values == values.max()]
    return float(best[(best - 0.5).abs().argmin()])
