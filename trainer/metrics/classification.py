"""Metrics of classification: the confusion matrix and what follows from it, ROC and precision-recall."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def confusion_matrix(predicted: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Counts (classes, classes), true class first, of flat predictions and targets in 0..classes-1."""
    return torch.bincount(target * num_classes + predicted, minlength=num_classes * num_classes).view(
        num_classes, num_classes
    )


def f1_macro(counts: Tensor) -> float:
    """The unweighted mean of each class's F1, over classes that occur or are predicted."""
    scores = f1_per_class(counts)
    return float(scores[~scores.isnan()].mean())


def f1_per_class(counts: Tensor) -> Tensor:
    """F1 of each class (classes,), from ``confusion``; NaN for one that never occurs and is never predicted."""
    counts = counts.double()
    return 2 * counts.diag() / (counts.sum(1) + counts.sum(0))


def iou_per_class(counts: Tensor) -> Tensor:
    """Intersection over union of each class (classes,); NaN for one that never occurs and is never predicted."""
    counts = counts.double()
    intersection = counts.diag()
    return intersection / (counts.sum(0) + counts.sum(1) - intersection)


def roc_auc(margin: Tensor, positive: Tensor) -> float:
    """Area under the ROC curve by ranks (Mann-Whitney), ties counted half; NaN with one class only.

    margin (N,) real, positive (N,) bool.
    """
    _, inverse, counts = torch.unique(margin.double(), return_inverse=True, return_counts=True)
    ends, counts = counts.cumsum(0).double(), counts.double()
    rank = (ends - (counts - 1) / 2)[inverse]
    num_positive = int(positive.sum())
    num_negative = len(positive) - num_positive
    if not num_positive or not num_negative:
        return math.nan
    return float((rank[positive].sum() - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def average_precision(margin: Tensor, positive: Tensor) -> float:
    """The precision at each margin, averaged over the positives it finds; NaN without one. Arguments as of
    ``roc_auc``."""
    _, rank = torch.unique(-margin.double(), return_inverse=True)  # the highest margin stands at place 0
    true_positives, predicted_positives = (torch.bincount(rank, weights=weight) for weight in (positive.double(), None))
    precision = true_positives.cumsum(0) / predicted_positives.cumsum(0)
    return float((precision * true_positives).sum() / true_positives.sum())


def threshold_curves(margin: Tensor, positive: Tensor, max_points: int = 500) -> tuple[Tensor, Tensor, Tensor]:
    """False positive rate, true positive rate (which is the recall) and precision at falling thresholds.

    (K,) each, K at most about ``most``, from the threshold that nothing passes, whose precision is set to 1. Arguments
    as of ``roc_auc``.
    """
    _, rank = torch.unique(-margin.double(), return_inverse=True)
    true_positives, false_positives = (
        torch.bincount(rank, weights=part.double()).cumsum(0) for part in (positive, ~positive)
    )
    true_positives, false_positives = (
        torch.cat((part.new_zeros(1), part)) for part in (true_positives, false_positives)
    )
    selected = torch.linspace(0, len(true_positives) - 1, min(len(true_positives), max_points)).round().long()
    true_positives, false_positives = true_positives[selected], false_positives[selected]
    precision = torch.where(
        true_positives + false_positives > 0, true_positives / (true_positives + false_positives), 1.0
    )
    return false_positives / false_positives[-1], true_positives / true_positives[-1], precision


def roc_auc_macro(logits: Tensor, target: Tensor) -> float:
    """The mean over classes of ``roc_auc`` of one class against all others, by its probability; NaN with one class
    only.

    logits (N, C), target (N,). A class without a row, or with all of them, is left out.
    """
    probabilities = logits.double().softmax(1)
    areas = [roc_auc(probabilities[:, label], target == label) for label in range(probabilities.shape[1])]
    defined = [area for area in areas if not math.isnan(area)]
    return sum(defined) / len(defined) if defined else math.nan
