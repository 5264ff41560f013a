"""Attention with several heads, and what the ways of attending have in common.

Masks say True where there is something to see. They compose: a key counts if it is real, and not later than the
query where attention is causal. A query with nothing to see gives zeros, and so does its gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.layers.attention.positional_encoding import RotaryCache, apply_rotary


def make_attention_mask(q: Tensor, k: Tensor, real: Tensor | None, causal: bool) -> Tensor | None:
    """What each query sees, broadcastable to (B, heads, T, S); None for everything.

    The T queries are the last of the S steps where attention is causal, so a single one sees all.
    """
    steps, seen = q.shape[2], k.shape[2]
    past = None
    if causal and steps > 1:
        past = torch.ones(steps, seen, dtype=torch.bool, device=q.device).tril(seen - steps)
    if real is None:
        return past
    keys = real[:, None, None, :]
    return keys if past is None else keys & past


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Shares of what is visible; zeros, not NaN, where nothing is."""
    if mask is None:
        return scores.softmax(-1)
    some = mask.any(-1, keepdim=True)
    return scores.masked_fill(~mask & some, -torch.inf).softmax(-1) * some


class AttentionKernel(nn.Module, ABC):
    """A way for queries to gather values: what stands between the projections of ``MultiHeadAttention``.

    ``not_causal_reason`` and ``not_cross_reason`` say why a kind cannot hide later steps, or read keys that are not
    those of its queries; empty where it can. ``shares`` is set where queries are their own keys.
    """

    not_causal_reason: ClassVar[str] = ""
    not_cross_reason: ClassVar[str] = ""
    shared_qk: ClassVar[bool] = False

    @abstractmethod
    def forward(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None = None, causal: bool = False) -> Tensor:
        """q (B, heads, T, D), k and v (B, heads, S, D), real (B, S) -> (B, heads, T, D)."""


class FullAttention(AttentionKernel):
    """``softmax(q k^T / sqrt(D)) v`` (Vaswani et al. 2017) by torch's fused kernels."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None = None, causal: bool = False) -> Tensor:
        if real is None and q.shape[2] == k.shape[2]:
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        mask = make_attention_mask(q, k, real, causal)
        if mask is None or real is None:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        some = mask.any(-1, keepdim=True)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask | ~some) * some


class ReferenceAttention(AttentionKernel):
    """``softmax(q k^T / sqrt(D)) v`` written out, to compare with and to look into."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None = None, causal: bool = False) -> Tensor:
        return self.compute_attention_weights(q, k, real, causal) @ v

    def compute_attention_weights(
        self, q: Tensor, k: Tensor, real: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """How much each query takes of each value, (B, heads, T, S)."""
        return masked_softmax((q * q.shape[3] ** -0.5) @ k.transpose(2, 3), make_attention_mask(q, k, real, causal))


class MultiHeadAttention(nn.Module):
    """Vaswani et al. 2017, section 3.2.2: queries, keys and values of every head from full projections, and one back.

    What is projected is handed to ``forward``, so that keys and values of the past, or of a source, can be kept. With
    the weights of ``nn.MultiheadAttention`` and ``FullAttention`` it is equal to it.
    """

    def __init__(self, width: int, heads: int, attend: AttentionKernel):
        super().__init__()
        self.width = width
        self.heads = heads
        self.attend = attend
        self.project = nn.Linear(width, (2 if attend.shared_qk else 3) * width)  # queries, keys unless shared, values
        self.out = nn.Linear(width, width)

    def project_qkv(self, x: Tensor, by: RotaryCache | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, heads, T, D) of the same steps x (B, T, heads * D)."""
        parts = self._split_heads(self.project(x))
        placed = parts[:-1] if by is None else apply_rotary(parts[:-1], by)
        return placed[0], placed[-1], parts[-1]

    def project_q(self, x: Tensor) -> Tensor:
        """Queries (B, heads, T, D) of steps x (B, T, heads * D)."""
        (q,) = self._split_heads(F.linear(x, self.project.weight[: self.width], self.project.bias[: self.width]))
        return q

    def project_kv(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, S, D) of the steps x (B, S, heads * D) of another sequence."""
        k, v = self._split_heads(F.linear(x, self.project.weight[self.width :], self.project.bias[self.width :]))
        return k, v

    def forward(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None = None, causal: bool = False) -> Tensor:
        """q (B, heads, T, D) asks, keys and values (B, heads, S, D) answer: (B, T, heads * D)."""
        return self.out(self.attend(q, k, v, real, causal).transpose(1, 2).flatten(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        """(B, T, n * heads * D) -> (n, B, heads, T, D)"""
        return x.unflatten(-1, (-1, self.heads, self.width // self.heads)).permute(2, 0, 3, 1, 4)
