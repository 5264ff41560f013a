"""Length bucketing: batches of rows of similar length, which need little padding."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core import rng

BATCH_ORDER_STREAM = 1
"""Random stream of the batch order, distinct from that of the row order of the same epoch."""


def sort_by_length(order: Tensor, lengths: Tensor, rows: int) -> Tensor:
    """Sort chunks of an order by length, so that the batches of a chunk need little padding.

    Args:
        order: Indices of rows ``(N,)``.
        lengths: Length of each row of the split.
        rows: Number of rows per chunk.
    """
    return torch.cat([chunk[lengths[chunk].argsort(stable=True)] for chunk in order.split(rows)])


def bucket_by_length(
    order: Tensor, lengths: Tensor, batch_size: int, bucket: int, shuffle_seed: int | None
) -> list[Tensor]:
    """Split an order of rows into batches of similar length.

    Args:
        order: Indices of rows ``(N,)``.
        lengths: Length of each row of the split.
        batch_size: Rows per batch.
        bucket: Number of batches within which rows are sorted.
        shuffle_seed: Seed of the order of the batches; None sorts all rows and keeps the order.

    Returns:
        Indices of the rows of each batch; a partial batch is the last one.
    """
    if shuffle_seed is None:
        return list(sort_by_length(order, lengths, len(order)).split(batch_size))
    batches = list(sort_by_length(order, lengths, bucket * batch_size).split(batch_size))
    full = len(order) // batch_size
    permutation = rng.make_permutation(full, shuffle_seed, BATCH_ORDER_STREAM)
    return [batches[position] for position in permutation] + batches[full:]
