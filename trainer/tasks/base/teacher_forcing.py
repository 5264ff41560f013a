"""How teacher forcing fades over a run."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor


def forcing_ratio(
    schedule: Literal["linear", "exponential", "inverse_sigmoid"], progress: Tensor, end: float
) -> Tensor:
    """How often the true past is fed when a share ``progress`` of training, in [0, 1], is done.

    ``end + (1 - end) d(progress)`` with the decays of Bengio et al. 2015 over a run of any length: ``linear`` 1 - p;
    ``exponential`` .01^p; ``inverse_sigmoid`` 1 / (1 + e^(10 (p - 1/2))); the last two moved and stretched so that d
    goes from exactly 1 to exactly 0.
    """
    decay, first, last = {
        "linear": (1 - progress, 1.0, 0.0),
        "exponential": (0.01**progress, 1.0, 0.01),
        "inverse_sigmoid": (torch.sigmoid(10 * (0.5 - progress)), 1 / (1 + math.exp(-5)), 1 / (1 + math.exp(5))),
    }[schedule]
    return end + (1 - end) * (decay - last) / (first - last)
