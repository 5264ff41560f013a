"""Points around equally likely centres: their exact density."""

from __future__ import annotations

import math

import torch
from torch import Tensor

AT_ONCE = 1 << 22
"""How many distances are held at a time."""


def log_density(x: Tensor, centres: Tensor, sigma: float) -> Tensor:
    """``log mean_k N(x; c_k, sigma^2 I)`` in nats, (B,) double, of points x (B, F) and centres (K, F)."""
    centres = centres.to(x.device).double()
    parts = x.double().split(max(1, AT_ONCE // len(centres)))
    # The form that is exact for points far out: the quick one loses what is small beside their length.
    squares = (torch.cdist(part, centres, compute_mode="donot_use_mm_for_euclid_dist").square() for part in parts)
    nats = torch.cat([torch.logsumexp(-square / (2 * sigma**2), 1) for square in squares])
    return nats - math.log(len(centres)) - x.shape[1] * math.log(sigma * math.sqrt(2 * math.pi))
