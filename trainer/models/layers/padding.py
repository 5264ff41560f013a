"""Padding of sequences and masks of their valid steps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def make_valid_mask(x: Tensor, lengths: Tensor | None) -> Tensor | None:
    """Return the mask (B, T) of valid steps of x (B, T, ...), or None if all steps are valid.

    Args:
        x: padded sequences (B, T, ...).
        lengths: number of valid steps of each sequence (B); None if all are valid.
    """
    return None if lengths is None else torch.arange(x.shape[1], device=x.device) < lengths[:, None]


def find_valid_steps(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the mask (B, T) of valid steps of x (B, T, ...), also if all steps are valid.

    Args:
        x: padded sequences (B, T, ...).
        lengths: number of valid steps of each sequence (B); None if all are valid.
    """
    valid = make_valid_mask(x, lengths)
    return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if valid is None else valid


def reverse_sequences(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the valid steps of each sequence (B, T, F) and leave its padding in place.

    Args:
        x: padded sequences (B, T, F).
        lengths: number of valid steps (B).
    """
    positions = torch.arange(x.shape[1], device=x.device)
    reversed_index = lengths[:, None] - 1 - positions
    return x.gather(1, reversed_index.where(reversed_index >= 0, positions)[..., None].expand_as(x))


def pad_to_multiple(x: Tensor, size: int, dim: int) -> Tensor:
    """Pad x with zeros (False) at the end of dimension ``dim`` to a multiple of ``size``.

    Args:
        x: tensor of any shape.
        size: the padded length is a multiple of it.
        dim: dimension to pad, not negative.
    """
    pad = -x.shape[dim] % size
    return F.pad(x, (0, 0) * (x.dim() - 1 - dim) + (0, pad)) if pad else x
