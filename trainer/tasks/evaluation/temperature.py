"""Temperature scaling of logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TEMPERATURE_BOUNDS = 0.05, 20.0
"""Range of temperatures. Without a bound, logits that classify all rows correctly would be scaled to infinity."""
NUM_BISECTIONS = 50


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """Return the temperature T that minimizes the negative log-likelihood of ``softmax(logits / T)``.

    The likelihood is convex in ``1 / T``, so that bisection of its derivative finds the minimum.

    Args:
        logits: Logits ``(N, C)``.
        target: True classes ``(N,)``.

    References:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2.
    """
    logits = logits.double()
    mean_of_true = logits.gather(1, target.unsqueeze(1)).mean()
    low, high = map(math.log, TEMPERATURE_BOUNDS)
    for _ in range(NUM_BISECTIONS):
        middle = (low + high) / 2
        expected = ((logits / math.exp(middle)).softmax(1) * logits).sum(1).mean()
        # The derivative of the NLL with respect to 1 / T is positive where the logits are too large.
        low, high = (middle, high) if bool(torch.gt(expected, mean_of_true)) else (low, middle)
    return math.exp((low + high) / 2)
