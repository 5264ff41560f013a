"""Cross-entropy with ignored targets."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.core.ordered_sums import needs_ordered_sums
from trainer.metrics.double_precision import to_double


def cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy over all targets that are not ``IGNORE_INDEX``; 0 if there are none.

    ``F.cross_entropy`` would return NaN for a batch without labels, which sparsely labeled data can contain.

    Args:
        logits: Logits (B, C, ...).
        target: Class indices (B, ...).
        label_smoothing: Probability mass that is spread uniformly over all classes.
    """
    logits, target = flatten_maps(logits, target)
    total = F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX, label_smoothing=label_smoothing, reduction="sum")
    return total / (target != IGNORE_INDEX).sum().clamp(min=1)


def sum_nll(logits: Tensor, target: Tensor) -> Tensor:
    """Return the summed negative log-likelihood of all targets that are not ``IGNORE_INDEX``, in nats.

    The sum is in double precision where the device supports it.

    Args:
        logits: Logits (B, C, ...).
        target: Class indices (B, ...).
    """
    logits, target = flatten_maps(logits, target)
    return to_double(F.cross_entropy(logits.float(), target, ignore_index=IGNORE_INDEX, reduction="sum"))


def flatten_maps(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (K, C) and class indices (K,) where sums must be ordered, as those of maps on CUDA are not.

    Args:
        logits: Logits (B, C, ...).
        target: Class indices (B, ...); class probabilities (B, C, ...) are returned as they are.
    """
    if logits.dim() == 2 or target.is_floating_point() or not needs_ordered_sums(logits):
        return logits, target
    return logits.movedim(1, -1).flatten(0, -2), target.flatten()
