"""Multi-head attention and the interface of attention kernels.

Boolean masks are True where attention is allowed. A key is attended to if it is valid and, under causal attention, not
later than the query. A query without any allowed key outputs zeros and gets a zero gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.layers.attention.positional_encoding import RotaryCache, apply_rotary


def make_attention_mask(q: Tensor, k: Tensor, valid_mask: Tensor | None, causal: bool) -> Tensor | None:
    """Combine the key padding mask and the causal mask.

    Under causal attention the T queries are the last of the S keys, so that a single query attends to all keys.

    Args:
        q: queries (B, heads, T, D).
        k: keys (B, heads, S, D).
        valid_mask: key padding mask (B, S), True for valid keys; None if all are valid.
        causal: mask keys later than the query.

    Returns:
        A mask broadcastable to (B, heads, T, S), or None if all keys are allowed.
    """
    queries, keys = q.shape[2], k.shape[2]
    causal_mask = None
    if causal and (torch.compiler.is_exporting() or queries > 1):
        causal_mask = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
    if valid_mask is None:
        return causal_mask
    padding_mask = valid_mask[:, None, None, :]
    return padding_mask if causal_mask is None else padding_mask & causal_mask


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Compute the softmax over the allowed keys; rows without any allowed key are zeros, not NaN.

    Args:
        scores: attention scores (..., T, S).
        mask: mask broadcastable to the scores, True where attention is allowed; None allows all keys.
    """
    if mask is None:
        return scores.softmax(-1)
    any_key = mask.any(-1, keepdim=True)
    return scores.masked_fill(~mask & any_key, -torch.inf).softmax(-1) * any_key


class AttentionKernel(nn.Module, ABC):
    """Attention kernel of ``MultiHeadAttention``: maps projected queries, keys and values to outputs.

    Attributes:
        not_causal_reason: why the kernel cannot be causal; empty if it can.
        not_cross_reason: why the kernel cannot be used for cross-attention; empty if it can.
        shared_qk: True if queries and keys share one projection.
    """

    not_causal_reason: ClassVar[str] = ""
    not_cross_reason: ClassVar[str] = ""
    shared_qk: ClassVar[bool] = False

    @abstractmethod
    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid_mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Compute the attention output.

        Args:
            q: queries.
            k: keys.
            v: values.
            valid_mask: key padding mask, True for valid keys.
            causal: mask keys later than the query.

        Shape:
            q: (B, heads, T, D)
            k: (B, heads, S, D)
            v: (B, heads, S, D)
            valid_mask: (B, S)
            output: (B, heads, T, D)
        """


class FullAttention(AttentionKernel):
    """Scaled dot-product attention ``softmax(q k^T / sqrt(D)) v`` by torch's fused kernels.

    References:
        Vaswani et al. 2017, Attention Is All You Need, eq. 1
    """

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid_mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        if valid_mask is None and q.shape[2] == k.shape[2]:
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        mask = make_attention_mask(q, k, valid_mask, causal)
        if mask is None or valid_mask is None:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        any_key = mask.any(-1, keepdim=True)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask | ~any_key) * any_key


class ReferenceAttention(AttentionKernel):
    """Scaled dot-product attention ``softmax(q k^T / sqrt(D)) v`` in plain operations.

    Unlike the fused kernels, it exposes the attention weights.
    """

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid_mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        return self.compute_attention_weights(q, k, valid_mask, causal) @ v

    def compute_attention_weights(
        self, q: Tensor, k: Tensor, valid_mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Compute the attention weights, (B, heads, T, S).

        Args:
            q: queries (B, heads, T, D).
            k: keys (B, heads, S, D).
            valid_mask: key padding mask (B, S), True for valid keys.
            causal: mask keys later than the query.
        """
        return masked_softmax(
            (q * q.shape[3] ** -0.5) @ k.transpose(2, 3), make_attention_mask(q, k, valid_mask, causal)
        )


class MultiHeadAttention(nn.Module):
    """Multi-head attention with an exchangeable attention kernel.

    Projection and attention are separate methods, so that keys and values of earlier steps or of an encoder can be
    cached. With ``FullAttention`` and the weights of ``nn.MultiheadAttention`` the outputs are equal.

    Args:
        width: model dimension.
        heads: number of heads.
        kernel: attention kernel.

    References:
        Vaswani et al. 2017, Attention Is All You Need, section 3.2.2
    """

    def __init__(self, width: int, heads: int, kernel: AttentionKernel):
        super().__init__()
        self.width = width
        self.heads = heads
        self.kernel = kernel
        self.in_proj = nn.Linear(width, (2 if kernel.shared_qk else 3) * width)  # q, k unless shared, v
        self.out_proj = nn.Linear(width, width)

    def project_qkv(self, x: Tensor, rotary: RotaryCache | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Project x (B, T, heads * D) to queries, keys and values (B, heads, T, D).

        Queries and keys are rotated if a rotary cache is given.

        Args:
            x: input (B, T, heads * D).
            rotary: rotary cache of the positions of x; None for no rotation.
        """
        parts = self._split_heads(self.in_proj(x))
        rotated = parts[:-1] if rotary is None else apply_rotary(parts[:-1], rotary)
        return rotated[0], rotated[-1], parts[-1]

    def project_q(self, x: Tensor) -> Tensor:
        """Project x (B, T, heads * D) to queries (B, heads, T, D)."""
        (q,) = self._split_heads(F.linear(x, self.in_proj.weight[: self.width], self.in_proj.bias[: self.width]))
        return q

    def project_kv(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Project another sequence (B, S, heads * D) to keys and values (B, heads, S, D)."""
        k, v = self._split_heads(F.linear(x, self.in_proj.weight[self.width :], self.in_proj.bias[self.width :]))
        return k, v

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid_mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Attend from queries to keys and values, and project the heads to the output.

        Args:
            q: queries (B, heads, T, D).
            k: keys (B, heads, S, D).
            v: values (B, heads, S, D).
            valid_mask: mask of valid steps of k and v, (B, S); None if all are valid.
            causal: attend only to steps that are not later than the query.

        Returns:
            Output (B, T, heads * D).
        """
        return self.out_proj(self.kernel(q, k, v, valid_mask, causal).transpose(1, 2).flatten(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        """Reshape (B, T, n * heads * D) to (n, B, heads, T, D)."""
        return x.unflatten(-1, (-1, self.heads, self.width // self.heads)).permute(2, 0, 3, 1, 4)
