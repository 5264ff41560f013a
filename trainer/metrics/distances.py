"""Distances between sets of points: energy distance, nearest neighbors, coverage of modes."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_DIRECT_FEATURES = 32
"""Maximum number of features for which distances are computed without matrix products."""
ROWS_PER_CHUNK = 256
"""Number of rows per distance matrix in memory."""


def energy_distance(x: Tensor, y: Tensor) -> float:
    """Return the energy distance ``2 E|X-Y| - E|X-X'| - E|Y-Y'|`` of two sets of points.

    The estimate is unbiased, because pairs of a point with itself are excluded: for samples of one distribution it is 0
    on average and may be slightly negative.

    Args:
        x: Points ``(N, F)``, N at least 2.
        y: Points ``(M, F)``, M at least 2.

    References:
        Szekely and Rizzo, "Energy statistics: A class of statistics based on distances", J. Stat. Plan. Inference 2013.
    """
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    self_distance = _sum_distances(x, x) / (n * (n - 1)) + _sum_distances(y, y) / (m * (m - 1))
    return float(2 * _sum_distances(x, y) / (n * m) - self_distance)


def _sum_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the sum of the distances of all pairs, computed in blocks to save memory."""
    return torch.stack([torch.cdist(block, y).sum() for block in x.split(1024)]).sum()


def nearest_distances(rows: Tensor, others: Tensor, count: int) -> Tensor:
    """Return the distances of each row to its nearest neighbors, in increasing order.

    Args:
        rows: Points ``(N, F)``.
        others: Points ``(M, F)`` among which neighbors are searched.
        count: Number of neighbors K.

    Returns:
        Distances ``(N, K)``.
    """
    # Matrix products are faster, but too inaccurate for close points with few features.
    mode = (
        "use_mm_for_euclid_dist_if_necessary" if rows.shape[1] > MAX_DIRECT_FEATURES else "donot_use_mm_for_euclid_dist"
    )
    distances = (torch.cdist(chunk, others, compute_mode=mode) for chunk in rows.split(ROWS_PER_CHUNK))
    return torch.cat([chunk.topk(count, largest=False).values for chunk in distances])


MODE_HIT_FRACTION = 0.2
"""Fraction of its expected points that a mode must get; a broad Gaussian over the ring gives a mode a fifteenth."""


def mode_coverage(points: Tensor, centers: Tensor, sigma: float) -> dict[str, float]:
    """Return the number of modes that are hit, and the fraction of points within 3 sigma of a center.

    The modes are assumed to be equally likely.

    Args:
        points: Generated points ``(N, F)``.
        centers: Centers of the modes ``(K, F)``.
        sigma: Standard deviation of each mode.

    Returns:
        ``modes`` and ``within``.
    """
    distance, nearest = torch.cdist(points.double(), centers.double()).min(1)
    is_close = distance <= 3 * sigma
    hits = torch.bincount(nearest[is_close], minlength=len(centers))
    is_hit = hits >= MODE_HIT_FRACTION * len(points) / len(centers)
    return {"modes": float(is_hit.sum()), "within": float(is_close.double().mean())}
