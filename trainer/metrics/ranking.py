"""Metrics of ranking: filtered ranks, the mean reciprocal rank, hits at k."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.metrics.double_precision import to_double
from trainer.metrics.registry import HITS_AT_K

CUTOFFS = (1, 3, 10)
"""The k of each hits at k."""
MAX_SCORES_PER_CHUNK = 1 << 19
"""How many are compared at a time: they stay in the cache, which is eight times faster than all of a large batch."""


def filtered_ranks_and_nll(scores: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The ``ranks`` of the rows' targets and their negative log-likelihood, (B,) each."""
    rows_per_chunk = max(1, MAX_SCORES_PER_CHUNK // scores.shape[1])
    results = []
    for score_chunk, target_chunk, known_chunk in zip(
        *(value.split(rows_per_chunk) for value in (scores, target, known)), strict=True
    ):
        nll = F.cross_entropy(score_chunk.float(), target_chunk, reduction="none")
        results.append((filtered_ranks(score_chunk, target_chunk, known_chunk), to_double(nll)))
    rank, nll = (torch.cat(parts) for parts in zip(*results, strict=True))
    return rank, nll


def filtered_ranks(scores: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """The filtered rank of each row's target among all candidates (Bordes et al. 2013), 1 for the best: (B,) double.

    scores (B, C); target (B,); known (B, K): other right answers, which are left out, each at most once in a row, the
    target among them or not, filled up with numbers below 0. Candidates that tie share the mean of their ranks, so
    that scores that are all alike rank as chance does; NaN is no better than last.
    """
    target_score = scores.gather(1, target[:, None])
    # What is left out is counted apart, which spares a copy of all scores.
    is_other = (known >= 0) & (known != target[:, None])
    other_scores = scores.gather(1, known.clamp(min=0)).where(is_other, torch.nan)
    num_below = _count_below(scores, target_score) - _count_below(other_scores, target_score)
    return scores.shape[1] - is_other.sum(1) - num_below + 0.5


def _count_below(scores: Tensor, target_score: Tensor) -> Tensor:
    """How many scores (B, C) of each row are below its own (B, 1), those that tie counted half and NaN not at all."""
    return to_double((scores < target_score).sum(1)) + to_double((scores == target_score).sum(1)) / 2


def ranking_metrics(ranks: Tensor) -> dict[str, float]:
    """The mean reciprocal rank, and the shares of rows (B,) that rank at least so high."""
    hits = {HITS_AT_K.get_member(k).name: float((ranks <= k).double().mean()) for k in CUTOFFS}
    return {"mrr": float(ranks.double().reciprocal().mean())} | hits
