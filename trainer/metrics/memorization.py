"""Memorization: generated samples that are copies of training rows."""

from __future__ import annotations

import math

from torch import Tensor

from trainer.metrics.distances import nearest_distances

COPY_DISTANCE_RATIO = 1 / 3
"""Maximum ratio of the distances to the nearest and second nearest training row of a copy (Yoon et al. 2023)."""


def copy_fraction(generated: Tensor, train: Tensor) -> float:
    """Return the fraction of generated rows that are copies of training rows.

    Args:
        generated: Generated rows ``(N, D)``.
        train: Training rows ``(M, D)``.

    Returns:
        The fraction; NaN if M is below 2.

    References:
        Yoon et al., "Diffusion Probabilistic Models Generalize when They Fail to Memorize", ICML workshop 2023.
    """
    if len(train) < 2:
        return math.nan
    nearest, second_nearest = nearest_distances(generated, train, 2).unbind(1)
    return float((nearest <= COPY_DISTANCE_RATIO * second_nearest).double().mean())
