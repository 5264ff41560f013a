"""Distances between two sets of points, and the modes that points hit."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_DIRECT_FEATURES = 32
"""Numbers in a row up to which distances are taken one by one."""
ROWS_PER_CHUNK = 256
"""Rows whose distances to all others are held at a time."""


def energy_distance(x: Tensor, y: Tensor) -> float:
    """How far apart two sets of points are: ``2 E|X-Y| - E|X-X'| - E|Y-Y'|`` (Szekely and Rizzo 2013).

    x (N, F), y (M, F), N and M at least 2. Pairs of a point with itself do not count, so the estimate is unbiased: 0
    on average for two draws from one distribution, whatever their sizes, and by chance a little below it.
    """
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    within = _sum_distances(x, x) / (n * (n - 1)) + _sum_distances(y, y) / (m * (m - 1))
    return float(2 * _sum_distances(x, y) / (n * m) - within)


def _sum_distances(x: Tensor, y: Tensor) -> Tensor:
    """The sum over all pairs, a block at a time so that memory stays small."""
    return torch.stack([torch.cdist(block, y).sum() for block in x.split(1024)]).sum()


def nearest_distances(rows: Tensor, others: Tensor, count: int) -> Tensor:
    """The distances (N, count) of each row to its nearest others, in order."""
    # Products of matrices are quicker, and too rough for points that are few numbers and lie close.
    mode = (
        "use_mm_for_euclid_dist_if_necessary" if rows.shape[1] > MAX_DIRECT_FEATURES else "donot_use_mm_for_euclid_dist"
    )
    distances = (torch.cdist(chunk, others, compute_mode=mode) for chunk in rows.split(ROWS_PER_CHUNK))
    return torch.cat([chunk.topk(count, largest=False).values for chunk in distances])


MODE_HIT_FRACTION = 0.2
"""A mode is hit by a fifth of the points it should get; one broad Gaussian gives a mode of a ring a fifteenth."""


def mode_coverage(points: Tensor, centers: Tensor, sigma: float) -> dict[str, float]:
    """How many modes points (N, F) hit, and the share of them that lies within 3 sigma of a centre (K, F).

    The modes are taken to be equally likely.
    """
    distance, nearest = torch.cdist(points.double(), centers.double()).min(1)
    is_close = distance <= 3 * sigma
    hits = torch.bincount(nearest[is_close], minlength=len(centers))
    is_hit = hits >= MODE_HIT_FRACTION * len(points) / len(centers)
    return {"modes": float(is_hit.sum()), "within": float(is_close.double().mean())}
