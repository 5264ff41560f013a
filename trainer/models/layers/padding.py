"""Which steps of rows of unequal length are real, and which are padding behind their ends."""

from __future__ import annotations

import torch
from torch import Tensor


def make_valid_mask(x: Tensor, lengths: Tensor | None) -> Tensor | None:
    """Which steps of x (B, T, ...) are real, (B, T); None where all are."""
    return None if lengths is None else torch.arange(x.shape[1], device=x.device) < lengths[:, None]


def find_valid_steps(x: Tensor, lengths: Tensor | None) -> Tensor:
    """The same as a tensor in every case, (B, T)."""
    valid = make_valid_mask(x, lengths)
    return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if valid is None else valid
