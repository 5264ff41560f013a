"""Attention within hash buckets (Reformer)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.models.layers.attention.attention import AttentionKernel, masked_softmax
from trainer.models.layers.padding import pad_to_multiple


class LSHAttention(AttentionKernel):
    """Reformer attention: steps are sorted by hash bucket and attend within their chunk and the previous one.

    Queries and keys share one projection; a key is the normalized query. A step attends to itself only if nothing else
    is in reach. The hash is the nearest of ``buckets`` (even) random directions and their opposites. The outputs of
    ``rounds`` hashes are weighted by their softmax normalizers. The directions are drawn once, not in every forward
    pass, and a key found in two rounds counts in both.

    Args:
        head_dim: dimension D of a head.
        buckets: number of hash buckets, even.
        size: steps per chunk.
        rounds: number of hashes.

    References:
        Kitaev et al. 2020, Reformer: The Efficient Transformer
    """

    not_causal_reason = "sorts all steps before chunking them"
    not_cross_reason = "uses its queries as keys"
    shared_qk = True
    SELF_SCORE: ClassVar[float] = -1e4
    """Below all other scores and representable in half precision."""

    directions: Tensor

    def __init__(self, head_dim: int, buckets: int, size: int, rounds: int = 1):
        super().__init__()
        self.size = size
        self.register_buffer("directions", torch.randn(rounds, head_dim, buckets // 2))

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid_mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        steps = q.shape[2]
        size = min(self.size, steps)
        valid_mask = q.new_ones(q.shape[0], steps, dtype=torch.bool) if valid_mask is None else valid_mask
        q, v, valid_mask = (
            pad_to_multiple(q, size, 2),
            pad_to_multiple(v, size, 2),
            pad_to_multiple(valid_mask, size, 1),
        )
        valid_mask = valid_mask[:, None, None].expand(-1, q.shape[1], len(self.directions), -1)  # (B, heads, rounds, T)
        order = self._hash_buckets(q).masked_fill(~valid_mask, torch.iinfo(torch.long).max).argsort(dim=-1, stable=True)
        q, v = (_gather_in_order(x, order).unflatten(3, (-1, size)) for x in (q, v))
        output, weight = self._attend_chunks(
            q, v, *(x.unflatten(3, (-1, size)) for x in (order, valid_mask.gather(3, order)))
        )
        inverse = order.argsort(-1)[..., None]
        output, weight = output.gather(3, inverse.expand_as(output)), weight.gather(3, inverse)
        return (output * weight.softmax(2)).sum(2)[:, :, :steps]

    def _hash_buckets(self, q: Tensor) -> Tensor:
        """Return the bucket of each step in each round, (B, heads, rounds, T)."""
        projected = q[:, :, None] @ self.directions.to(q.dtype)
        return torch.cat((projected, -projected), -1).argmax(-1)

    def _attend_chunks(self, q: Tensor, v: Tensor, positions: Tensor, valid_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Attend from the queries of each chunk to the keys in its window.

        Args:
            q: queries (B, heads, rounds, chunks, size, D).
            v: values of the same steps.
            positions: original positions of the steps.
            valid_mask: mask of valid steps.

        Returns:
            Outputs (B, heads, rounds, T, D) and their log normalizers (B, heads, rounds, T, 1).
        """
        keys, values = _concat_previous(F.normalize(q, dim=-1)), _concat_previous(v)
        is_self = positions[..., None] == _concat_previous(positions)[..., None, :]
        mask = _concat_previous(valid_mask)[..., None, :]
        scores = (q * q.shape[-1] ** -0.5) @ keys.transpose(4, 5)  # (B, heads, rounds, chunks, size, 2 size)
        scores = scores.masked_fill(is_self, self.SELF_SCORE)
        weight = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).logsumexp(-1, keepdim=True)
        return (masked_softmax(scores, mask) @ values).flatten(3, 4), weight.flatten(3, 4)


def _gather_in_order(x: Tensor, order: Tensor) -> Tensor:
    """Reorder x (B, heads, T, D) by the order (B, heads, rounds, T) of each round to (B, heads, rounds, T, D)."""
    x = x[:, :, None].expand(-1, -1, order.shape[2], -1, -1)
    return x.gather(3, order[..., None].expand_as(x))


def _concat_previous(chunks: Tensor) -> Tensor:
    """Concatenate each chunk with the previous one, zeros (False) for the first.

    Returns:
        (B, heads, rounds, chunks, 2 size, ...)
    """
    previous = torch.cat((torch.zeros_like(chunks[:, :, :, :1]), chunks[:, :, :, :-1]), 3)
    return torch.cat((previous, chunks), 4)
