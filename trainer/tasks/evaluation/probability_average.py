"""Logits of averaged class probabilities."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def average_logits(logits: Tensor) -> Tensor:
    """Return the logits (B, C, ...) whose softmax is the mean softmax of several models.

    A single logit is that of the second of two classes, and so is its average.

    Args:
        logits: Logits (M, B, C, ...) of M models.

    References:
        Lakshminarayanan et al., Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles, NeurIPS
        2017.
    """
    if logits.shape[2] == 1:
        return F.logsigmoid(logits).logsumexp(0) - F.logsigmoid(-logits).logsumexp(0)
    return logits.log_softmax(2).logsumexp(0) - math.log(len(logits))
