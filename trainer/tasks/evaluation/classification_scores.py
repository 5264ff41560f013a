"""Metrics of classification, from totals over all rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core.batch import RowValues, Score
from trainer.metrics import classification as metrics
from trainer.metrics.calibration import bin_confidences, expected_calibration_error
from trainer.metrics.double_precision import to_double
from trainer.metrics.registry import (
    F1_PER_CLASS,
    IOU_PER_CLASS,
    PRECISION_PER_CLASS,
    RECALL_PER_CLASS,
    MetricFamily,
)

CONFUSION_SCORES: Mapping[str, Callable[[Tensor], float]] = {
    "f1": metrics.f1_macro,
    "balanced_accuracy": metrics.balanced_accuracy,
    "macro_precision": metrics.precision_macro,
    "macro_recall": metrics.recall_macro,
    "mcc": metrics.matthews_correlation,
    "mean_iou": lambda counts: float(metrics.iou_per_class(counts).nanmean()),
}
"""Functions from a confusion matrix (C, C) to a metric."""
CLASS_SCORES: Mapping[str, tuple[MetricFamily, Callable[[Tensor], Tensor]]] = {
    "mean_iou": (IOU_PER_CLASS, metrics.iou_per_class),
    "f1_per_class": (F1_PER_CLASS, metrics.f1_per_class),
    "precision_per_class": (PRECISION_PER_CLASS, metrics.precision_per_class),
    "recall_per_class": (RECALL_PER_CLASS, metrics.recall_per_class),
}
"""Functions from a confusion matrix (C, C) to the metrics of the classes (C,), which are reported with a metric."""
RANKED_SCORES: Mapping[str, tuple[Callable[[Tensor, Tensor], float], Callable[[Tensor, Tensor], float]]] = {
    "auc": (metrics.roc_auc, metrics.roc_auc_macro),
    "average_precision": (metrics.average_precision, metrics.average_precision_macro),
}
"""Functions of margins and positives of two classes, and of logits and classes of more."""


def collect(names: Collection[Any], logits: Tensor, predicted: Tensor, target: Tensor) -> Score:
    """Return what the metrics need of a batch, besides its summed NLL.

    Args:
        names: Metrics to report.
        logits: Logits (N, C).
        predicted: Predicted classes (N,).
        target: True classes (N,).
    """
    num_classes = logits.shape[1]
    score: Score = {
        "count": torch.tensor(target.numel(), device=target.device),
        "correct": (predicted == target).sum(),
    }
    if not (CONFUSION_SCORES.keys() | CLASS_SCORES.keys()).isdisjoint(names):
        score["confusion"] = metrics.confusion_matrix(predicted, target, num_classes)
    if not RANKED_SCORES.keys().isdisjoint(names):
        if num_classes == 2:
            score |= {"margin": RowValues(logits[:, 1] - logits[:, 0]), "positive": RowValues(target == 1)}
        else:
            score |= {"logits": RowValues(logits), "truth": RowValues(target)}
    if "ece" in names:
        score["confidence_bins"] = bin_confidences(to_double(logits).softmax(1), target)
    return score


def compute(names: Collection[Any], totals: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the metrics of a split that are single numbers, by name.

    Args:
        names: Metrics to report.
        totals: Totals of ``collect``, and ``nll``.
    """
    count = float(totals["count"])
    share, nll = metrics.accuracy(totals["correct"], totals["count"]), float(totals["nll"]) / count
    scores = {"accuracy": share, "pixel_accuracy": share, "token_accuracy": share, "nll": nll}
    scores["perplexity"] = float(torch.tensor(nll, dtype=torch.float64).exp())
    for name, (of_two_classes, of_more_classes) in RANKED_SCORES.items():
        if name not in names:
            continue
        if "margin" in totals:
            scores[name] = of_two_classes(totals["margin"], totals["positive"])
        else:
            scores[name] = of_more_classes(totals["logits"], totals["truth"])
    if "confusion" in totals:
        scores |= {name: function(totals["confusion"]) for name, function in CONFUSION_SCORES.items() if name in names}
    if "confidence_bins" in totals:
        scores["ece"] = expected_calibration_error(totals["confidence_bins"])
    return scores


def compute_class_scores(
    names: Collection[Any], confusions: Sequence[Tensor], class_names: Sequence[str]
) -> dict[str, float]:
    """Return the metrics of each class, by name, as means over confusion matrices where they are defined.

    Args:
        names: Metrics to report.
        confusions: Confusion matrices (C, C).
        class_names: Names of the classes.
    """
    scores: dict[str, float] = {}
    for name, (family, function) in CLASS_SCORES.items():
        if name in names:
            values = torch.stack([function(confusion) for confusion in confusions]).nanmean(0)
            scores |= dict(zip(family.name_members(class_names), values.tolist(), strict=True))
    return scores


def score_most_frequent_class(
    names: Collection[Any], train_counts: Tensor, test_counts: Tensor, class_names: Sequence[str]
) -> dict[str, float]:
    """Return the expected scores of predicting the most frequent training class, drawn among equally frequent ones.

    Args:
        names: Metrics to report.
        train_counts: Number of training rows of each class (C,).
        test_counts: Number of test rows of each class (C,).
        class_names: Names of the classes.
    """
    truth = test_counts.double()
    majority = F.one_hot((train_counts == train_counts.max()).nonzero()[:, 0], len(truth)).double()
    confusions = [truth[:, None] * prediction for prediction in majority]
    scores = {
        name: sum(map(function, confusions)) / len(confusions)
        for name, function in CONFUSION_SCORES.items()
        if name in names and name not in CLASS_SCORES
    }
    shares = truth / truth.sum()
    if "average_precision" in names:
        scores["average_precision"] = float(shares[1] if len(shares) == 2 else shares[shares > 0].mean())
    return scores | compute_class_scores({*names} - {"mean_iou"}, confusions, class_names)
