"""Losses over targets of which some do not count."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX


def cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The mean over the targets that count, of logits (B, C, ...) against (B, ...); 0, not 0 / 0, where none does.

    Small batches of a data set with few labels may hold nothing that counts.
    """
    total = F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX, label_smoothing=label_smoothing, reduction="sum")
    return total / (target != IGNORE_INDEX).sum().clamp(min=1)
