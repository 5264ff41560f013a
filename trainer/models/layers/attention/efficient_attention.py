"""Attention whose cost does not grow with the square of the number of steps, each by giving something up.

Padding is never read, whatever stands there. All but ``LSHAttention`` and ``LinformerAttention`` can be causal, and
then go on from keys that were kept: the queries are the last steps of the keys.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.weight_matrices import HasWeightMatrices, MatricesByName
from trainer.models.layers.attention.attention import AttentionKernel, FullAttention, masked_softmax


def _pad_to_multiple(x: Tensor, size: int, dim: int) -> Tensor:
    """x with zeros (False) behind its steps, so that they can be cut into chunks."""
    lacking = -x.shape[dim] % size
    return F.pad(x, (0, 0) * (x.dim() - 1 - dim) + (0, lacking)) if lacking else x


class FeatureMapAttention(AttentionKernel):
    """``phi(q) (phi(k)^T v) / (phi(q) sum phi(k))``: the products with v first, so no step meets every other
    (Katharopoulos et al. 2020).

    Features are told by their logs, and each is divided by what it is of the largest key, before it is powered: the
    query takes that factor instead, over a factor of its own, which cancels. So neither long queries nor long keys
    leave nothing to divide by, where the features themselves would all be too small for a number.
    """

    CHUNK_SIZE: ClassVar[int] = 64
    """Blocks of at most so many steps within causal attention multiply queries with keys first, which is less work."""
    EPS: ClassVar[float] = 1e-30
    """Far below any sum of features, so that it only turns 0 / 0 into 0."""

    @abstractmethod
    def log_features(self, x: Tensor) -> Tensor:
        """Logs (B, heads, T, M) of the features of queries or keys (B, heads, T, D)."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None = None, causal: bool = False) -> Tensor:
        with torch.autocast(q.device.type, enabled=False):
            asked, kept = self.log_features(q.float()), self.log_features(k.float())
            if real is not None:
                kept = kept.masked_fill(~real[:, None, :, None], -torch.inf)
            values = F.pad(v.float(), (0, 1), value=1.0)  # a column of ones gathers the denominator
            mixed, _ = self._causal_sums(asked, kept, values) if causal else self._weighted_sums(asked, kept, values)
            return (mixed[..., :-1] / mixed[..., -1:].clamp(min=self.EPS)).to(v.dtype)

    def _weighted_sums(self, q: Tensor, k: Tensor, v: Tensor, in_pairs: bool = False) -> ScaledSums:
        """What logs of features (..., T, M) gather from all of (..., S, M) and values (..., S, D)."""
        largest = k.detach().amax(-2, keepdim=True).clamp(min=torch.finfo(k.dtype).min)
        q, k = q + largest, (k - largest).exp()
        scale = q.detach().amax(-1, keepdim=True)
        q = (q - scale).exp()
        keys = k.transpose(-2, -1)
        return (q @ keys @ v if in_pairs else q @ (keys @ v)), scale

    def _causal_sums(self, q: Tensor, k: Tensor, v: Tensor) -> ScaledSums:
        """Each query with the keys up to its own step.

        With its own key; then the later half of every two, four, eight, ... steps with all keys of the earlier half:
        as much work as twice the number of halvings, and no query knows the size of a key that comes after it.
        """
        steps, past = q.shape[-2], k.shape[-2] - q.shape[-2]
        before, (k, v) = (k[..., :past, :], v[..., :past, :]), (x[..., past:, :] for x in (k, v))
        alone = self._weighted_sums(q.unsqueeze(-2), k.unsqueeze(-2), v.unsqueeze(-2), in_pairs=True)
        found = alone[0].squeeze(-2), alone[1].squeeze(-2)
        if past:
            found = _add_scaled(found, self._weighted_sums(q, *before))
        size = 1
        while size < steps:
            halves = [_pad_to_multiple(x, 2 * size, 2).unflatten(2, (-1, 2, size)) for x in (q, k, v, *found)]
            (_, later), (keys, _), (values, _), (sums, more_sums), (scale, more_scale) = (x.unbind(3) for x in halves)
            more = _add_scaled(
                (more_sums, more_scale), self._weighted_sums(later, keys, values, in_pairs=size <= self.CHUNK_SIZE)
            )
            pairs = zip((sums, scale), more, strict=True)
            sums, scale = (torch.stack(pair, 3).flatten(2, 4)[:, :, :steps] for pair in pairs)
            found = sums, scale
            size *= 2
        return found


ScaledSums = tuple[Tensor, Tensor]
"""Sums (..., T, D) of each query, and the log (..., T, 1) of what they are to be multiplied by."""


def _add_scaled(a: ScaledSums, b: ScaledSums) -> ScaledSums:
    scale = torch.maximum(a[1], b[1])
    return a[0] * (a[1] - scale).exp() + b[0] * (b[1] - scale).exp(), scale


class LinearAttention(FeatureMapAttention):
    """``phi(x) = elu(x) + 1`` (Katharopoulos et al. 2020)."""

    def log_features(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x.clamp(min=0).log1p(), x)


class PerformerAttention(FeatureMapAttention):
    """Random features of the softmax itself (Choromanski et al. 2021): ``phi(x) = exp(w x - |x|^2 / 2) / sqrt(M)``
    for x over the fourth root of D, whose products are exp(q k / sqrt(D)) on average. The w are normal, orthogonal in
    blocks of D, and drawn once.
    """

    directions: Tensor

    def __init__(self, head_dim: int, features: int):
        super().__init__()
        blocks = [nn.init.orthogonal_(torch.empty(head_dim, head_dim)) for _ in range(-(-features // head_dim))]
        norms = torch.randn(features, head_dim).norm(dim=1, keepdim=True)
        self.register_buffer("directions", torch.cat(blocks)[:features] * norms)

    def log_features(self, x: Tensor) -> Tensor:
        """Without the root of M, which cancels."""
        x = x * x.shape[-1] ** -0.25
        return x @ self.directions.T - x.square().sum(-1, keepdim=True) / 2


class LinformerAttention(AttentionKernel, HasWeightMatrices):
    """Keys and values of at most ``seq_len`` steps are mixed into ``rank`` (Wang et al. 2020):
    ``softmax(q (E k)^T / sqrt(D)) (F v)``, E and F shared by the heads.

    Raises ValueError for more steps.
    """

    not_causal_reason = "mixes all steps into a few"

    def __init__(self, seq_len: int, rank: int):
        super().__init__()
        self.keys = nn.Parameter(torch.randn(rank, seq_len) * seq_len**-0.5)
        self.values = nn.Parameter(torch.randn(rank, seq_len) * seq_len**-0.5)
        self.full = FullAttention()

    def weight_matrices(self) -> MatricesByName:
        """Maps from steps to steps."""
        return {"keys": [self.keys.data], "values": [self.values.data]}

    def forward(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None = None, causal: bool = False) -> Tensor:
        steps, most = k.shape[2], self.keys.shape[1]
        if steps > most:
            raise ValueError(
                f"attention: linformer was built for {most} steps (seq_len) and got {steps};"
                " full, linear, performer and chunked take any number"
            )
        if real is not None:
            k, v = (x.masked_fill(~real[:, None, :, None], 0.0) for x in (k, v))
        return self.full(q, self.keys[:, :steps] @ k, self.values[:, :steps] @ v)


class ChunkedAttention(AttentionKernel):
    """Each chunk of ``size`` steps sees itself and ``reach`` chunks on both sides, or before it only where causal:
    attention within blocks, with reach 0, or in a window (Parmar et al. 2018).
    """

    not_cross_reason = "looks around each query's own place"

    def __init__(self, size: int, reach: int = 1):
        super().__init__()
        self.size = size
        self.reach = reach

    def forward(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None = None, causal: bool = False) -> Tensor:
        size, steps, past = min(self.size, k.shape[2]), q.shape[2], k.shape[2] - q.shape[2]
        skipped = max(0, past // size - self.reach) * size  # whole chunks that no query sees
        past -= skipped
        real = k.new_ones(k.shape[0], k.shape[2], dtype=torch.bool) if real is None else real
        q = _pad_to_multiple(F.pad(q, (0, 0, past, 0)), size, 2).unflatten(2, (-1, size))  # (B, heads, chunks, size, D)
        k, v = (self._unfold_windows(x[:, :, skipped:], size, causal).transpose(3, 4) for x in (k, v))
        mask = self._unfold_windows(real[:, None, skipped:, None], size, causal)  # (B, 1, chunks, 1, window)
        if causal:
            window = torch.ones(size, mask.shape[-1], dtype=torch.bool, device=q.device)
            mask = mask & window.tril(self.reach * size)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(3, 4)
        return (masked_softmax(scores, mask) @ v).flatten(2, 3)[:, :, past : past + steps]

    def _unfold_windows(self, x: Tensor, size: int, causal: bool) -> Tensor:
        """(B, heads, S, D) -> (B, heads, chunks, D, window): what each chunk sees, a view of x with zeros around it."""
        before = self.reach * size
        behind = 0 if causal else before
        padded = F.pad(_pad_to_multiple(x, size, 2), (0, 0, before, behind))
        return padded.unfold(2, before + size + behind, size)


class LSHAttention(AttentionKernel):
    """Reformer (Kitaev et al. 2020): steps are sorted by the bucket their vector is hashed to, cut into chunks of
    ``size``, and see their own chunk and the one before.

    A query, over its norm, is its own key, and sees itself only where it sees nothing else. The hash is the nearest of
    ``buckets`` (even) random directions and their opposites; ``rounds`` hashes are weighed by what their queries found.
    The directions are drawn once, not at every pass, and a key met in two rounds counts in both.
    """

    not_causal_reason = "sorts all steps before it cuts them"
    not_cross_reason = "takes its queries for keys"
    shared_qk = True
    SELF_SCORE: ClassVar[float] = -1e4
    """A score below all others that half precision still holds."""

    directions: Tensor

    def __init__(self, head_dim: int, buckets: int, size: int, rounds: int = 1):
        super().__init__()
        self.size = size
        self.register_buffer("directions", torch.randn(rounds, head_dim, buckets // 2))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None = None, causal: bool = False) -> Tensor:
        steps = q.shape[2]
        size = min(self.size, steps)
        real = q.new_ones(q.shape[0], steps, dtype=torch.bool) if real is None else real
        q, v, real = _pad_to_multiple(q, size, 2), _pad_to_multiple(v, size, 2), _pad_to_multiple(real, size, 1)
        real = real[:, None, None].expand(-1, q.shape[1], len(self.directions), -1)  # (B, heads, rounds, T)
        order = self._hash_buckets(q).masked_fill(~real, torch.iinfo(torch.long).max).argsort(dim=-1, stable=True)
        q, v = (_gather_in_order(x, order).unflatten(3, (-1, size)) for x in (q, v))
        found, weight = self._attend_chunks(q, v, *(x.unflatten(3, (-1, size)) for x in (order, real.gather(3, order))))
        back = order.argsort(-1)[..., None]
        found, weight = found.gather(3, back.expand_as(found)), weight.gather(3, back)
        return (found * weight.softmax(2)).sum(2)[:, :, :steps]

    def _hash_buckets(self, q: Tensor) -> Tensor:
        """The bucket of each step in each round, (B, heads, rounds, T)."""
        along = q[:, :, None] @ self.directions.to(q.dtype)
        return torch.cat((along, -along), -1).argmax(-1)

    def _attend_chunks(self, q: Tensor, v: Tensor, places: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """What queries (B, heads, rounds, chunks, size, D) find in their windows, and the log of their normalisers:
        (B, heads, rounds, T, D) and (B, heads, rounds, T, 1). ``places`` and ``real`` are of the same steps."""
        keys, values = _concat_previous(F.normalize(q, dim=-1)), _concat_previous(v)
        itself = places[..., None] == _concat_previous(places)[..., None, :]
        mask = _concat_previous(real)[..., None, :]
        scores = (q * q.shape[-1] ** -0.5) @ keys.transpose(4, 5)  # (B, heads, rounds, chunks, size, 2 size)
        scores = scores.masked_fill(itself, self.SELF_SCORE)
        weight = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).logsumexp(-1, keepdim=True)
        return (masked_softmax(scores, mask) @ values).flatten(3, 4), weight.flatten(3, 4)


def _gather_in_order(x: Tensor, order: Tensor) -> Tensor:
    """x (B, heads, T, D) in the order (B, heads, rounds, T) of each round, (B, heads, rounds, T, D)."""
    x = x[:, :, None].expand(-1, -1, order.shape[2], -1, -1)
    return x.gather(3, order[..., None].expand_as(x))


def _concat_previous(chunks: Tensor) -> Tensor:
    """Each chunk behind the one before, zeros (False) before the first: (B, heads, rounds, chunks, 2 size, ...)."""
    before = torch.cat((torch.zeros_like(chunks[:, :, :, :1]), chunks[:, :, :, :-1]), 3)
    return torch.cat((before, chunks), 4)
