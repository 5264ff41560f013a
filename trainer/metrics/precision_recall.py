"""Precision and recall of generated samples, by nearest neighbors in feature space."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.metrics.distances import ROWS_PER_CHUNK, nearest_distances

NUM_NEIGHBORS = 3
"""The neighbor whose distance is the radius around a row; 3 as in Kynkaanniemi et al. 2019."""


def precision_recall(generated: Tensor, real: Tensor) -> tuple[float, float]:
    """Return precision and recall of generated samples.

    Precision is the fraction of generated rows within the manifold of the real rows, recall the fraction of real rows
    within that of the generated rows. The manifold of a set is the union of balls around its rows, each with the
    distance to the third nearest neighbor as radius.

    Args:
        generated: Features of generated rows ``(N, D)``.
        real: Features of real rows ``(M, D)``.

    Returns:
        Precision and recall; NaN if N or M is at most ``NUM_NEIGHBORS``.

    References:
        Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", NeurIPS 2019.
    """
    if min(len(generated), len(real)) <= NUM_NEIGHBORS:
        return math.nan, math.nan
    return _fraction_within(generated, real), _fraction_within(real, generated)


def _fraction_within(rows: Tensor, others: Tensor) -> float:
    """Return the fraction of rows within the manifold of others."""
    radius = nearest_distances(others, others, NUM_NEIGHBORS + 1)[
        :, -1
    ]  # the nearest neighbor of a row is the row itself
    is_within = [(torch.cdist(chunk, others) <= radius).any(1) for chunk in rows.split(ROWS_PER_CHUNK)]
    return float(torch.cat(is_within).double().mean())
