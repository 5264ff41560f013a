"""Sums, maxima and softmax over groups of rows in any order, for exported programs.

Sorted segments are faster, but sorting and segment kernels are no operators that other runtimes have.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sum_groups(values: Tensor, group: Tensor, count: int) -> Tensor:
    """Sum the rows (K, ...) of each group to (count, ...).

    Args:
        values: rows (K, ...).
        group: group of each row (K,), int64.
        count: number of groups.
    """
    return values.new_zeros(count, *values.shape[1:]).index_add(0, group, values)


def max_groups(values: Tensor, group: Tensor, count: int) -> Tensor:
    """Return the largest of the rows (K, ...) of each group, (count, ...); minus infinity for an empty group.

    Args:
        values: rows (K, ...).
        group: group of each row (K,), int64.
        count: number of groups.
    """
    index = group.view(-1, *[1] * (values.dim() - 1)).expand_as(values)
    lowest = values.new_full((count, *values.shape[1:]), -torch.inf)
    return lowest.scatter_reduce(0, index, values, "amax")


def group_softmax(scores: Tensor, group: Tensor, count: int) -> Tensor:
    """Compute the softmax of scores (K,) over each group; a group with no score above minus infinity is all zeros.

    Args:
        scores: scores (K,).
        group: group of each score (K,), int64.
        count: number of groups.
    """
    limits = torch.finfo(scores.dtype)
    probs = (scores - max_groups(scores, group, count).clamp(min=limits.min).index_select(0, group)).exp()
    return probs / sum_groups(probs, group, count).clamp(min=limits.tiny).index_select(0, group)
