"""Memorization: generated samples that are copies of training rows."""

from __future__ import annotations

import math

from torch import Tensor

from trainer.metrics.distances import nearest_distances

COPY_DISTANCE_RATIO = 1 / 3
"""A row so much nearer to one training row than to any other is a copy of it (Yoon et al. 2023)."""


def copy_fraction(generated: Tensor, train: Tensor) -> float:
    """The share of made rows (N, D) that are copies of training rows (M, D); NaN if there are not two of these."""
    if len(train) < 2:
        return math.nan
    nearest, second_nearest = nearest_distances(generated, train, 2).unbind(1)
    return float((nearest <= COPY_DISTANCE_RATIO * second_nearest).double().mean())
