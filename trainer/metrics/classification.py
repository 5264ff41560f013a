"""Classification metrics of a confusion matrix, and those of ranked scores (ROC and precision-recall curves)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def confusion_matrix(predicted: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Return the confusion matrix, with true classes as rows and predicted classes as columns.

    Args:
        predicted: Predicted classes ``(N,)``, from 0.
        target: True classes ``(N,)``, from 0.
        num_classes: Number of classes C.

    Returns:
        Counts ``(C, C)``.
    """
    return torch.bincount(target * num_classes + predicted, minlength=num_classes * num_classes).view(
        num_classes, num_classes
    )


def accuracy(correct: Tensor, count: Tensor) -> float:
    """Return the share of predictions that are correct.

    Args:
        correct: Number of correct predictions, a scalar.
        count: Number of predictions, a scalar.
    """
    return float(correct) / float(count)


def f1_macro(counts: Tensor) -> float:
    """Return the unweighted mean of the F1 scores of the classes that occur or are predicted.

    Args:
        counts: Confusion matrix ``(C, C)``.
    """
    return _average_defined(f1_per_class(counts))


def precision_macro(counts: Tensor) -> float:
    """Return the unweighted mean of the precisions of the classes that occur or are predicted.

    Args:
        counts: Confusion matrix ``(C, C)``.
    """
    return _average_defined(precision_per_class(counts))


def recall_macro(counts: Tensor) -> float:
    """Return the unweighted mean of the recalls of the classes that occur or are predicted.

    Args:
        counts: Confusion matrix ``(C, C)``.
    """
    return _average_defined(recall_per_class(counts))


def _average_defined(values: Tensor) -> float:
    return float(values[~values.isnan()].mean())


def f1_per_class(counts: Tensor) -> Tensor:
    """Return the F1 score of each class ``(C,)``; NaN for a class that neither occurs nor is predicted.

    Args:
        counts: Confusion matrix ``(C, C)``.
    """
    counts = counts.double()
    return 2 * counts.diag() / (counts.sum(1) + counts.sum(0))


def precision_per_class(counts: Tensor) -> Tensor:
    """Return the precision of each class ``(C,)``: the share of its predictions that are correct.

    It is 0 for a class that occurs but is never predicted, and NaN for one that neither occurs nor is predicted.

    Args:
        counts: Confusion matrix ``(C, C)``.
    """
    return _divide_hits(counts, counts.sum(0))


def recall_per_class(counts: Tensor) -> Tensor:
    """Return the recall of each class ``(C,)``: the share of its rows that are found.

    It is 0 for a class that is predicted but never occurs, and NaN for one that neither occurs nor is predicted.

    Args:
        counts: Confusion matrix ``(C, C)``.
    """
    return _divide_hits(counts, counts.sum(1))


def _divide_hits(counts: Tensor, totals: Tensor) -> Tensor:
    """Divide the correct predictions of each class by totals (C,) that may be 0."""
    is_present = counts.sum(0) + counts.sum(1) > 0
    ratio = counts.diag().double() / totals.clamp(min=1)
    return ratio.masked_fill(~is_present, math.nan)


def balanced_accuracy(counts: Tensor) -> float:
    """Return the mean recall of the classes that occur.

    Args:
        counts: Confusion matrix ``(C, C)``.

    References:
        Brodersen et al., The Balanced Accuracy and Its Posterior Distribution, ICPR 2010.
    """
    return float(recall_per_class(counts)[counts.sum(1) > 0].mean())


def matthews_correlation(counts: Tensor) -> float:
    """Return Matthews' correlation coefficient of true and predicted classes, in [-1, 1].

    It is 0 if all rows have one true class, or one predicted class.

    Args:
        counts: Confusion matrix ``(C, C)``.

    References:
        Gorodkin, Comparing Two K-category Assignments by a K-category Correlation Coefficient, 2004.
    """
    counts = counts.double()
    true_counts, predicted_counts, total = counts.sum(1), counts.sum(0), counts.sum()
    covariance = counts.diag().sum() * total - true_counts @ predicted_counts
    variances = (total**2 - true_counts @ true_counts) * (total**2 - predicted_counts @ predicted_counts)
    return float(covariance / variances.sqrt()) if variances > 0 else 0.0


def iou_per_class(counts: Tensor) -> Tensor:
    """Return the intersection over union of each class ``(C,)``; NaN for a class that neither occurs nor is predicted.

    Args:
        counts: Confusion matrix ``(C, C)``.
    """
    counts = counts.double()
    intersection = counts.diag()
    return intersection / (counts.sum(0) + counts.sum(1) - intersection)


def roc_auc(margin: Tensor, positive: Tensor) -> float:
    """Return the area under the ROC curve, computed from ranks (Mann-Whitney U), with ties counted half.

    Args:
        margin: Scores ``(N,)``, higher for positives.
        positive: Whether each row is positive ``(N,)``, bool.

    Returns:
        The area; NaN if only one class occurs.
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
    """Return the average precision, the area under the precision-recall curve.

    Args:
        margin: Scores ``(N,)``, higher for positives.
        positive: Whether each row is positive ``(N,)``, bool.

    Returns:
        The average precision; NaN without positives.
    """
    _, rank = torch.unique(-margin.double(), return_inverse=True)  # rank 0 is the highest margin
    true_positives, predicted_positives = (torch.bincount(rank, weights=weight) for weight in (positive.double(), None))
    precision = true_positives.cumsum(0) / predicted_positives.cumsum(0)
    return float((precision * true_positives).sum() / true_positives.sum())


def average_precision_macro(logits: Tensor, target: Tensor) -> float:
    """Return the mean of the one-vs-rest average precision of the classes that occur, by their probabilities.

    Args:
        logits: Logits ``(N, C)``.
        target: True classes ``(N,)``.
    """
    return _average_over_classes(average_precision, logits, target)


def threshold_curves(margin: Tensor, positive: Tensor, max_points: int = 500) -> tuple[Tensor, Tensor, Tensor]:
    """Return the points of the ROC and precision-recall curves at decreasing thresholds.

    The first threshold is above all scores; its precision is defined as 1.

    Args:
        margin: Scores ``(N,)``, higher for positives.
        positive: Whether each row is positive ``(N,)``, bool.
        max_points: Maximum number of points K.

    Returns:
        False positive rate, true positive rate (recall) and precision, ``(K,)`` each.
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
    """Return the mean of the one-vs-rest ROC AUC of the classes, by their probabilities.

    Classes without positives or without negatives are left out.

    Args:
        logits: Logits ``(N, C)``.
        target: True classes ``(N,)``.

    Returns:
        The mean; NaN if only one class occurs.
    """
    return _average_over_classes(roc_auc, logits, target)


def _average_over_classes(score: Callable[[Tensor, Tensor], float], logits: Tensor, target: Tensor) -> float:
    """Return the mean of a one-vs-rest score over the classes where it is defined; NaN if it is nowhere.

    Args:
        score: Function from scores (N,) and positives (N,) to a number.
        logits: Logits (N, C).
        target: True classes (N,).
    """
    probabilities = logits.double().softmax(1)
    values = [score(probabilities[:, label], target == label) for label in range(probabilities.shape[1])]
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
