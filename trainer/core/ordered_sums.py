"""Sums whose kernels on CUDA have no fixed order, in a form that has one."""

from __future__ import annotations

import torch
from torch import Tensor

_FRACTION_BITS = 50
"""Bits of the fractions that are added as integers, more than a float32 has."""


def needs_ordered_sums(tensor: Tensor) -> bool:
    """Return whether torch refuses unordered sums of a tensor: on CUDA, if it is set to deterministic algorithms."""
    return tensor.is_cuda and torch.are_deterministic_algorithms_enabled()


def cumulative_sum(values: Tensor, dim: int) -> Tensor:
    """Return ``values.cumsum(dim)`` of non-negative numbers.

    Where sums must be ordered, fractions of the whole are added as integers, whose sum is exact in every order.

    Args:
        values: The numbers.
        dim: Dimension of the sum.
    """
    if not needs_ordered_sums(values):
        return values.cumsum(dim)
    total = values.double().sum(dim, keepdim=True)
    fractions = values.double() / total.where(total > 0, 1) * 2**_FRACTION_BITS
    sums: Tensor = fractions.round().long().cumsum(dim).double() / 2**_FRACTION_BITS * total
    return sums.to(values.dtype)
