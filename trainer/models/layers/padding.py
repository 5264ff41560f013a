"""Masks of valid steps in padded sequences."""

from __future__ import annotations

import torch
from torch import Tensor


def make_valid_mask(x: Tensor, lengths: Tensor | None) -> Tensor | None:
    """Return the mask (B, T) of valid steps of x (B, T, ...), or None if all steps are valid."""
    return None if lengths is None else torch.arange(x.shape[1], device=x.device) < lengths[:, None]


def find_valid_steps(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the mask (B, T) of valid steps of x (B, T, ...), also if all steps are valid."""
    valid = make_valid_mask(x, lengths)
    return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if valid is None else valid
