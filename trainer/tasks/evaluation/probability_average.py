"""Logits of averaged probabilities of classes and of tokens."""

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


def average_token_scores(scores: Tensor) -> Tensor:
    """Return the log probabilities (B, T, V) of the next token by the mean of those of several models.

    Args:
        scores: Logits (M, B, T, V) of M models.
    """
    return average_logits(scores.movedim(-1, 2)).movedim(1, -1)
