"""Attention kernels with sub-quadratic cost in the sequence length.

Padding is always masked. All kernels but ``LSHAttention`` and ``LinformerAttention`` support causal attention and
cached keys, where the queries are the last steps of the keys.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.weight_matrices import HasWeightMatrices, MatricesByName
from trainer.models.layers.attention.attention import AttentionKernel, FullAttention, masked_softmax
from trainer.models.layers.padding import pad_to_multiple


class FeatureMapAttention(AttentionKernel):
    """Linear attention ``phi(q) (phi(k)^T v) / (phi(q) sum phi(k))``, which multiplies keys and values first.

    Features are computed in log space. Each key feature is divided by its largest value over the keys before
    exponentiation, and the query is multiplied by that factor and divided by a scale of its own, which cancels. The
    denominator therefore does not underflow for queries or keys of large norm.

    References:
        Katharopoulos et al. 2020, Transformers are RNNs
    """

    CHUNK_SIZE: ClassVar[int] = 64
    """Largest block of causal attention that multiplies queries and keys first, which costs less for short blocks."""
    EPS: ClassVar[float] = 1e-30
    """Far below any sum of features; only turns 0 / 0 into 0."""

    @abstractmethod
    def log_features(self, x: Tensor) -> Tensor:
        """Compute the log features (B, heads, T, M) of queries or keys (B, heads, T, D)."""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid_mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        with torch.autocast(q.device.type, enabled=False):
            queries, keys = self.log_features(q.float()), self.log_features(k.float())
            if valid_mask is not None:
                keys = keys.masked_fill(~valid_mask[:, None, :, None], -torch.inf)
            values = F.pad(v.float(), (0, 1), value=1.0)  # the column of ones sums up the denominator
            sums, _ = self._causal_sums(queries, keys, values) if causal else self._weighted_sums(queries, keys, values)
            return (sums[..., :-1] / sums[..., -1:].clamp(min=self.EPS)).to(v.dtype)

    def _weighted_sums(self, q: Tensor, k: Tensor, v: Tensor, in_pairs: bool = False) -> ScaledSums:
        """Sum values (..., S, D) weighted by the products of log features (..., T, M) and (..., S, M)."""
        largest = k.detach().amax(-2, keepdim=True).clamp(min=torch.finfo(k.dtype).min)
        q, k = q + largest, (k - largest).exp()
        scale = q.detach().amax(-1, keepdim=True)
        q = (q - scale).exp()
        keys = k.transpose(-2, -1)
        return (q @ keys @ v if in_pairs else q @ (keys @ v)), scale

    def _causal_sums(self, q: Tensor, k: Tensor, v: Tensor) -> ScaledSums:
        """Sum over the keys up to the step of each query.

        Starts with the key of the same step; then, at block sizes 1, 2, 4, ..., the second half of each pair of blocks
        attends to all keys of the first half. The cost is linear per level with log2(T) levels, and no scale of a query
        depends on later keys.
        """
        steps, past = q.shape[-2], k.shape[-2] - q.shape[-2]
        cached, (k, v) = (k[..., :past, :], v[..., :past, :]), (x[..., past:, :] for x in (k, v))
        own_step = self._weighted_sums(q.unsqueeze(-2), k.unsqueeze(-2), v.unsqueeze(-2), in_pairs=True)
        total = own_step[0].squeeze(-2), own_step[1].squeeze(-2)
        if past:
            total = _add_scaled(total, self._weighted_sums(q, *cached))
        size = 1
        while size < steps:
            halves = [pad_to_multiple(x, 2 * size, 2).unflatten(2, (-1, 2, size)) for x in (q, k, v, *total)]
            (_, queries), (keys, _), (values, _), (first, second), (scale, second_scale) = (x.unbind(3) for x in halves)
            updated = _add_scaled(
                (second, second_scale), self._weighted_sums(queries, keys, values, in_pairs=size <= self.CHUNK_SIZE)
            )
            pairs = zip((first, scale), updated, strict=True)
            first, scale = (torch.stack(pair, 3).flatten(2, 4)[:, :, :steps] for pair in pairs)
            total = first, scale
            size *= 2
        return total


ScaledSums = tuple[Tensor, Tensor]
"""Weighted sums (..., T, D) per query and the log (..., T, 1) of their common factor."""


def _add_scaled(a: ScaledSums, b: ScaledSums) -> ScaledSums:
    scale = torch.maximum(a[1], b[1])
    return a[0] * (a[1] - scale).exp() + b[0] * (b[1] - scale).exp(), scale


class LinearAttention(FeatureMapAttention):
    """Linear attention with ``phi(x) = elu(x) + 1``.

    References:
        Katharopoulos et al. 2020, Transformers are RNNs
    """

    def log_features(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x.clamp(min=0).log1p(), x)


class PerformerAttention(FeatureMapAttention):
    """Performer attention (FAVOR+) with positive orthogonal random features.

    ``phi(x) = exp(w x - |x|^2 / 2) / sqrt(M)``, where x is first divided by D^(1/4), so that the products equal exp(q k
    / sqrt(D)) in expectation. The w are Gaussian, orthogonal in blocks of D, and drawn once.

    Args:
        head_dim: dimension D of a head.
        features: number of random features M.

    References:
        Choromanski et al. 2021, Rethinking Attention with Performers
    """

    directions: Tensor

    def __init__(self, head_dim: int, features: int):
        super().__init__()
        blocks = [nn.init.orthogonal_(torch.empty(head_dim, head_dim)) for _ in range(-(-features // head_dim))]
        norms = torch.randn(features, head_dim).norm(dim=1, keepdim=True)
        self.register_buffer("directions", torch.cat(blocks)[:features] * norms)

    def log_features(self, x: Tensor) -> Tensor:
        """Compute the log features without the factor 1 / sqrt(M), which cancels."""
        x = x * x.shape[-1] ** -0.25
        return x @ self.directions.T - x.square().sum(-1, keepdim=True) / 2


class LinformerAttention(AttentionKernel, HasWeightMatrices):
    """Linformer attention ``softmax(q (E k)^T / sqrt(D)) (F v)`` with E and F shared by the heads.

    Args:
        seq_len: maximum number of keys.
        rank: number of projected keys and values.

    Raises:
        ValueError: more than ``seq_len`` keys.

    References:
        Wang et al. 2020, Linformer: Self-Attention with Linear Complexity
    """

    not_causal_reason = "projects all steps to a fixed number"

    def __init__(self, seq_len: int, rank: int):
        super().__init__()
        self.key_proj = nn.Parameter(torch.randn(rank, seq_len) * seq_len**-0.5)
        self.value_proj = nn.Parameter(torch.randn(rank, seq_len) * seq_len**-0.5)
        self.attention = FullAttention()

    def weight_matrices(self) -> MatricesByName:
        """Return E and F, which map steps to steps."""
        return {"key_proj": [self.key_proj.data], "value_proj": [self.value_proj.data]}

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid_mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        steps, max_steps = k.shape[2], self.key_proj.shape[1]
        if steps > max_steps:
            raise ValueError(
                f"attention: linformer was built for {max_steps} steps (seq_len) and got {steps};"
                " full, linear, performer and chunked take any number"
            )
        if valid_mask is not None:
            k, v = (x.masked_fill(~valid_mask[:, None, :, None], 0.0) for x in (k, v))
        return self.attention(q, self.key_proj[:, :steps] @ k, self.value_proj[:, :steps] @ v)


class ChunkedAttention(AttentionKernel):
    """Local attention: each chunk of ``size`` steps attends to itself and its neighboring chunks.

    With ``reach=0`` this is block attention, otherwise sliding-window attention.

    Args:
        size: steps per chunk.
        reach: number of neighboring chunks on each side, or before the chunk only if causal.

    References:
        Parmar et al. 2018, Image Transformer
    """

    not_cross_reason = "attends to a window around each query"

    def __init__(self, size: int, reach: int = 1):
        super().__init__()
        self.size = size
        self.reach = reach

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid_mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        size, steps, past = min(self.size, k.shape[2]), q.shape[2], k.shape[2] - q.shape[2]
        skipped = max(0, past // size - self.reach) * size  # chunks out of reach of every query
        past -= skipped
        valid_mask = k.new_ones(k.shape[0], k.shape[2], dtype=torch.bool) if valid_mask is None else valid_mask
        q = pad_to_multiple(F.pad(q, (0, 0, past, 0)), size, 2).unflatten(2, (-1, size))  # (B, heads, chunks, size, D)
        k, v = (self._unfold_windows(x[:, :, skipped:], size, causal).transpose(3, 4) for x in (k, v))
        mask = self._unfold_windows(valid_mask[:, None, skipped:, None], size, causal)  # (B, 1, chunks, 1, window)
        if causal:
            window = torch.ones(size, mask.shape[-1], dtype=torch.bool, device=q.device)
            mask = mask & window.tril(self.reach * size)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(3, 4)
        return (masked_softmax(scores, mask) @ v).flatten(2, 3)[:, :, past : past + steps]

    def _unfold_windows(self, x: Tensor, size: int, causal: bool) -> Tensor:
        """Return a view of the keys in reach of each chunk: (B, heads, S, D) -> (B, heads, chunks, D, window).

        x is padded with zeros at both ends.
        """
        left_padding = self.reach * size
        right_padding = 0 if causal else left_padding
        padded = F.pad(pad_to_multiple(x, size, 2), (0, 0, left_padding, right_padding))
        return padded.unfold(2, left_padding + size + right_padding, size)
