"""Diversity of an ensemble: how much the predictions of its members differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor


def compute_disagreement(labels: Sequence[Tensor]) -> Tensor:
    """Return the share (B, ...) of pairs of members that predict different classes; 0 for a single member.

    Args:
        labels: Predicted classes (B, ...) of each member.

    References:
        Fort et al., Deep Ensembles: A Loss Landscape Perspective, arXiv 2019.
    """
    pairs = [(first != second).double() for first, second in combinations(labels, 2)]
    return torch.stack(pairs).mean(0) if pairs else torch.zeros_like(labels[0], dtype=torch.float64)


def compute_spread(values: Sequence[Tensor]) -> Tensor:
    """Return the standard deviation (B, ...) of the predictions of the members, with M members in its denominator.

    Args:
        values: Predicted numbers (B, ...) of each member.

    References:
        Lakshminarayanan et al., Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles, NeurIPS
        2017.
    """
    return torch.stack(list(values)).double().std(0, correction=0)
