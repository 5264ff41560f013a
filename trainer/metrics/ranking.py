"""Ranking metrics: filtered ranks, mean reciprocal rank, hits at k."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.metrics.double_precision import to_double
from trainer.metrics.registry import HITS_AT_K

CUTOFFS = (1, 3, 10)
"""Values of k of the hits at k."""
MAX_SCORES_PER_CHUNK = 1 << 19
"""Maximum number of scores per chunk; chunks that fit in the cache are eight times faster than a large batch."""


def filtered_ranks_and_nll(scores: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the filtered rank and the negative log-likelihood of the target of each row.

    Args:
        scores: Scores of the candidates ``(B, C)``.
        target: Index of the target of each row ``(B,)``.
        known: Other correct answers of each row ``(B, K)``, padded with negative numbers.

    Returns:
        Ranks and negative log-likelihoods, ``(B,)`` each, double.
    """
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
    """Return the filtered rank of the target of each row among all candidates, from 1.

    Other correct answers are excluded. Tied candidates share their mean rank, so that constant scores rank like chance;
    NaN ranks last.

    Args:
        scores: Scores of the candidates ``(B, C)``.
        target: Index of the target of each row ``(B,)``.
        known: Correct answers of each row ``(B, K)``, without duplicates, padded with negative numbers; the target may
            be among them.

    Returns:
        Ranks ``(B,)``, double.

    References:
        Bordes et al., "Translating Embeddings for Modeling Multi-relational Data", NeurIPS 2013.
    """
    target_score = scores.gather(1, target[:, None])
    # Excluded candidates are counted separately, which avoids a copy of all scores.
    is_other = (known >= 0) & (known != target[:, None])
    other_scores = scores.gather(1, known.clamp(min=0)).where(is_other, torch.nan)
    num_below = _count_below(scores, target_score) - _count_below(other_scores, target_score)
    return scores.shape[1] - is_other.sum(1) - num_below + 0.5


def _count_below(scores: Tensor, target_score: Tensor) -> Tensor:
    """Count the scores (B, C) of each row below that of its target (B, 1), with ties counted half and without NaN."""
    return to_double((scores < target_score).sum(1)) + to_double((scores == target_score).sum(1)) / 2


def ranking_metrics(ranks: Tensor) -> dict[str, float]:
    """Return the mean reciprocal rank and the hits at k.

    Args:
        ranks: Ranks of the rows ``(N,)``, from 1.
    """
    hits = {HITS_AT_K.get_member(k).name: float((ranks <= k).double().mean()) for k in CUTOFFS}
    return {"mrr": float(ranks.double().reciprocal().mean())} | hits
