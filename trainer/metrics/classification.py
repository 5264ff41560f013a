"""Metrics of classification: the confusion matrix and what follows from it, ROC and precision-recall."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def confusion_matrix(predicted: Tensor, target: Tensor, classes: int) -> Tensor:
    """Counts (classes, classes), true class first, of flat predictions and targets in 0..classes-1."""
    return torch.bincount(target * classes + predicted, minlength=classes * classes).view(classes, classes)


def f1_macro(counts: Tensor) -> float:
    """The unweighted mean of each class's F1, over classes that occur or are predicted."""
    each = f1_per_class(counts)
    return float(each[~each.isnan()].mean())


def f1_per_class(counts: Tensor) -> Tensor:
    """F1 of each class (classes,), from ``confusion``; NaN for one that never occurs and is never predicted."""
    counts = counts.double()
    return 2 * counts.diag() / (counts.sum(1) + counts.sum(0))


def iou_per_class(counts: Tensor) -> Tensor:
    """Intersection over union of each class (classes,); NaN for one that never occurs and is never predicted."""
    counts = counts.double()
    hits = counts.diag()
    return hits / (counts.sum(0) + counts.sum(1) - hits)


def roc_auc(margin: Tensor, positive: Tensor) -> float:
    """Area under the ROC curve by ranks (Mann-Whitney), ties counted half; NaN with one class only.

    margin (N,) real, positive (N,) bool.
    """
    _, inverse, counts = torch.unique(margin.double(), return_inverse=True, return_counts=True)
    ends, counts = counts.cumsum(0).double(), counts.double()
    rank = (ends - (counts - 1) / 2)[inverse]
    yes = int(positive.sum())
    no = len(positive) - yes
    if not yes or not no:
        return math.nan
    return float((rank[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def average_precision(margin: Tensor, positive: Tensor) -> float:
    """The precision at each margin, averaged over the positives it finds; NaN without one. Arguments as of
    ``roc_auc``."""
    _, place = torch.unique(-margin.double(), return_inverse=True)  # the highest margin stands at place 0
    found, guessed = (torch.bincount(place, weights=weight) for weight in (positive.double(), None))
    precision = found.cumsum(0) / guessed.cumsum(0)
    return float((precision * found).sum() / found.sum())


def threshold_curves(margin: Tensor, positive: Tensor, most: int = 500) -> tuple[Tensor, Tensor, Tensor]:
    """False positive rate, true positive rate (which is the recall) and precision at falling thresholds.

    (K,) each, K at most about ``most``, from the threshold that nothing passes, whose precision is set to 1. Arguments
    as of ``roc_auc``.
    """
    _, place = torch.unique(-margin.double(), return_inverse=True)
    hits, alarms = (torch.bincount(place, weights=part.double()).cumsum(0) for part in (positive, ~positive))
    hits, alarms = (torch.cat((part.new_zeros(1), part)) for part in (hits, alarms))
    kept = torch.linspace(0, len(hits) - 1, min(len(hits), most)).round().long()
    hits, alarms = hits[kept], alarms[kept]
    precision = torch.where(hits + alarms > 0, hits / (hits + alarms), 1.0)
    return alarms / alarms[-1], hits / hits[-1], precision


def roc_auc_macro(logits: Tensor, target: Tensor) -> float:
    """The mean over classes of ``roc_auc`` of one class against all others, by its probability; NaN with one class
    only.

    logits (N, C), target (N,). A class without a row, or with all of them, is left out.
    """
    odds = logits.double().softmax(1)
    each = [roc_auc(odds[:, label], target == label) for label in range(odds.shape[1])]
    known = [area for area in each if not math.isnan(area)]
    return sum(known) / len(known) if known else math.nan
