"""Terms of single rows in the metrics of classes and numbers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.core.row_terms import MetricTerms
from trainer.metrics.double_precision import to_double


def make_class_terms(logits: Tensor, predicted: Tensor, target: Tensor) -> dict[str, MetricTerms]:
    """Return the terms of accuracy and NLL under all their names.

    Args:
        logits: Logits (B, C, ...).
        predicted: Predicted classes (B, ...).
        target: Class indices (B, ...), which may be ignored.
    """
    nll = F.cross_entropy(logits.float(), target, ignore_index=IGNORE_INDEX, reduction="none")
    known = target != IGNORE_INDEX
    counts = _sum_rows(known)
    correct, losses = _sum_rows((predicted == target) & known), _sum_rows(nll)
    accuracy, mean_nll = MetricTerms(correct, counts), MetricTerms(losses, counts)
    names = ("accuracy", "pixel_accuracy", "token_accuracy")
    return dict.fromkeys(names, accuracy) | {"nll": mean_nll, "perplexity": mean_nll._replace(transform="exp")}


def make_error_terms(error: Tensor) -> dict[str, MetricTerms]:
    """Return the terms of the metrics of residuals.

    Args:
        error: Predictions minus targets (B, ...), in the units of the metrics.
    """
    squared, absolute = _sum_rows(error.square()), _sum_rows(error.abs())
    counts = squared.new_full(squared.shape, error[:1].numel())
    mse = MetricTerms(squared, counts)
    return {"mse": mse, "rmse": mse._replace(transform="sqrt"), "mae": MetricTerms(absolute, counts)}


def _sum_rows(values: Tensor) -> Tensor:
    """Return the sum (B,) of the values of each row."""
    return to_double(values).reshape(len(values), -1).sum(1)
