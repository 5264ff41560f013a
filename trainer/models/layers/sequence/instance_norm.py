"""Reversible instance normalization (RevIN) of time series."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

EPS = 1e-5


def compute_loc_and_scale(x: Tensor, normalize: Literal["none", "last", "standard"]) -> tuple[Tensor, Tensor]:
    """Compute the location and scale that normalize each window, without RevIN's learned affine parameters.

    Args:
        x: windows (B, T, F).
        normalize: ``standard`` uses mean and standard deviation over time, ``last`` subtracts the last step,
            ``none`` leaves the window unchanged.

    Returns:
        Location to subtract and scale to divide by, each (B, 1, F).

    References:
        Kim et al. 2022, Reversible Instance Normalization for Accurate Time-Series Forecasting
    """
    loc, scale = torch.zeros_like(x[:, :1]), torch.ones_like(x[:, :1])
    if normalize == "last":
        loc = x[:, -1:]
    elif normalize == "standard":
        loc = x.mean(1, keepdim=True)
        scale = (x.var(1, keepdim=True, correction=0) + EPS).sqrt()
    return loc, scale
