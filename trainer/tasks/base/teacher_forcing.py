"""Schedules of the teacher forcing probability."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor


def forcing_ratio(
    schedule: Literal["linear", "exponential", "inverse_sigmoid"], progress: Tensor, end: float
) -> Tensor:
    """Return the probability of teacher forcing ``end + (1 - end) d(p)`` at training progress p, a scalar tensor.

    The decay d(p) is ``1 - p`` (linear), ``0.01^p`` (exponential) or ``1 / (1 + exp(10 (p - 1/2)))`` (inverse sigmoid).
    The last two are shifted and scaled so that d(0) = 1 and d(1) = 0.

    Args:
        schedule: Decay.
        progress: Fraction p of training completed, in [0, 1].
        end: Final probability.

    References:
        Bengio et al., Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks, NeurIPS 2015, section
            2.4.
    """
    if schedule == "linear":
        decay, start, stop = 1 - progress, 1.0, 0.0
    elif schedule == "exponential":
        decay, start, stop = 0.01**progress, 1.0, 0.01
    else:
        decay = torch.sigmoid(10 * (0.5 - progress))
        start, stop = 1 / (1 + math.exp(-5)), 1 / (1 + math.exp(5))
    return end + (1 - end) * (decay - stop) / (start - stop)
