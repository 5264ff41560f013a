"""Cross-entropy with ignored targets."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.metrics.double_precision import to_double


def cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Compute the mean cross-entropy over targets other than ``IGNORE_INDEX``, 0 if there are none.

    Small batches of sparsely labeled data may contain no label.

    Shape:
        logits: (B, C, ...)
        target: (B, ...)
        output: scalar
    """
    total = F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX, label_smoothing=label_smoothing, reduction="sum")
    return total / (target != IGNORE_INDEX).sum().clamp(min=1)


def sum_nll(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the summed negative log-likelihood in nats, in double precision, of targets other than ``IGNORE_INDEX``.

    Shape:
        logits: (B, C, ...)
        target: (B, ...)
        output: scalar
    """
    return to_double(F.cross_entropy(logits.float(), target, ignore_index=IGNORE_INDEX, reduction="sum"))
