"""The level and the spread of a series, taken out of what a network reads and put back into what it says."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

EPS = 1e-5


def compute_loc_and_scale(x: Tensor, normalize: Literal["none", "last", "standard"]) -> tuple[Tensor, Tensor]:
    """What to subtract from a window (B, T, F) and then to divide it by, each (B, 1, F).

    Reversible instance normalisation (Kim et al. 2022) without its learned scale: ``standard`` takes mean and
    deviation, ``last`` the last step alone.
    """
    level, spread = torch.zeros_like(x[:, :1]), torch.ones_like(x[:, :1])
    if normalize == "last":
        level = x[:, -1:]
    elif normalize == "standard":
        level = x.mean(1, keepdim=True)
        spread = (x.var(1, keepdim=True, correction=0) + EPS).sqrt()
    return level, spread
