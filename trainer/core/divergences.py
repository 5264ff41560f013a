"""Divergences between distributions in closed form."""

from __future__ import annotations

import torch
from torch import Tensor


def standard_normal_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return ``KL(N(mean, diag exp(log_variance)) || N(0, I))`` in nats, (B,).

    Args:
        mean: Means (B, D).
        log_variance: Logarithms (B, D) of the variances.

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014, appendix B.
    """
    return (mean.square() + torch.exp(log_variance) - 1 - log_variance).sum(1) / 2
