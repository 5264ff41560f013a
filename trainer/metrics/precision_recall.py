"""Precision and recall of generated samples, by nearest neighbors in feature space."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.metrics.distances import ROWS_PER_CHUNK, nearest_distances

NUM_NEIGHBORS = 3
"""How many neighbours a real row's surroundings reach to (Kynkaanniemi et al. 2019 take 3)."""


def precision_recall(generated: Tensor, real: Tensor) -> tuple[float, float]:
    """Shares of made rows (N, D) that fall among real ones, and of real rows (M, D) among made ones.

    A row is among others if it is nearer to one of them than that one's third neighbour is (Kynkaanniemi et al. 2019).
    NaN where there are fewer.
    """
    if min(len(generated), len(real)) <= NUM_NEIGHBORS:
        return math.nan, math.nan
    return _fraction_within(generated, real), _fraction_within(real, generated)


def _fraction_within(rows: Tensor, others: Tensor) -> float:
    radius = nearest_distances(others, others, NUM_NEIGHBORS + 1)[:, -1]  # the first neighbour of a row is itself
    is_within = [(torch.cdist(chunk, others) <= radius).any(1) for chunk in rows.split(ROWS_PER_CHUNK)]
    return float(torch.cat(is_within).double().mean())
