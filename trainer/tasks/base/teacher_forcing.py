"""Schedules of the teacher forcing ratio."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor


def forcing_ratio(
    schedule: Literal["linear", "exponential", "inverse_sigmoid"], progress: Tensor, end: float
) -> Tensor:
    """Return the teacher forcing ratio at training progress p in [0, 1].

    ``end + (1 - end) d(p)`` with the decays d of scheduled sampling, independent of the number of steps: ``linear`` 1 -
    p; ``exponential`` .01^p; ``inverse_sigmoid`` 1 / (1 + e^(10 (p - 1/2))). The last two are shifted and scaled to run
    from exactly 1 to exactly 0.

    References:
        Bengio et al. 2015, Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks
    """
    decay, start, stop = {
        "linear": (1 - progress, 1.0, 0.0),
        "exponential": (0.01**progress, 1.0, 0.01),
        "inverse_sigmoid": (torch.sigmoid(10 * (0.5 - progress)), 1 / (1 + math.exp(-5)), 1 / (1 + math.exp(5))),
    }[schedule]
    return end + (1 - end) * (decay - stop) / (start - stop)
