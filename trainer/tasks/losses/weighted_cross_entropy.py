"""Cross-entropy with weights by class, and the focal loss."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.tasks.losses.class_weights import sum_target_weights
from trainer.tasks.losses.masked_cross_entropy import flatten_maps


def weighted_cross_entropy(
    logits: Tensor, target: Tensor, class_weights: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Return the cross-entropy with weights by class, averaged as by torch; 0 if no target has a weight.

    Class indices are averaged over the sum of their weights, class probabilities over their number.

    Args:
        logits: Logits (B, C, ...).
        target: Class indices (B, ...), or class probabilities (B, C, ...).
        class_weights: Weight of each class (C,).
        label_smoothing: Probability mass that is spread uniformly over all classes.
    """
    total = F.cross_entropy(
        *flatten_maps(logits, target),
        weight=class_weights.to(logits.dtype),
        ignore_index=IGNORE_INDEX,
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    return _average(total, logits, target, class_weights)


def focal_loss(logits: Tensor, target: Tensor, gamma: float, class_weights: Tensor | None = None) -> Tensor:
    """Return the focal loss ``-w_y (1 - p_y)^gamma log p_y``, averaged as ``weighted_cross_entropy``.

    Rows that the model already classifies with a high probability have less weight than in the cross-entropy. Of class
    probabilities q it is ``-sum_c q_c w_c (1 - p_c)^gamma log p_c``.

    Args:
        logits: Logits (B, C, ...).
        target: Class indices (B, ...), or class probabilities (B, C, ...).
        gamma: Exponent; 0 gives the cross-entropy.
        class_weights: Weight of each class (C,); None for equal weights.

    References:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.
    """
    log_probability = logits.float().log_softmax(1)
    # The derivative of (1 - p)^gamma at p = 1 is infinite for a gamma below 1.
    factor = (-log_probability.expm1()).clamp(min=1e-6 if gamma < 1 else 0.0)
    terms = -(factor**gamma) * log_probability
    if class_weights is not None:
        terms = terms * class_weights.view(1, -1, *[1] * (logits.dim() - 2))
    if target.is_floating_point():
        return _average((terms * target).sum(), logits, target, class_weights)
    is_valid = target != IGNORE_INDEX
    chosen = terms.gather(1, target.where(is_valid, 0).unsqueeze(1)).squeeze(1)
    return _average(chosen.where(is_valid, 0.0).sum(), logits, target, class_weights)


def _average(total: Tensor, logits: Tensor, target: Tensor, class_weights: Tensor | None) -> Tensor:
    """Divide a sum over targets by their number, or by the sum of their weights."""
    if target.is_floating_point():
        return total / (logits.numel() / logits.shape[1])
    is_valid = target != IGNORE_INDEX
    weight = is_valid.sum() if class_weights is None else sum_target_weights(target, class_weights)
    return total / weight.where(weight > 0, 1)
