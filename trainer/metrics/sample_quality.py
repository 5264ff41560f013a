"""How like real rows those are that a model made: arithmetic on two sets of rows, or of their features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.metrics.double_precision import to_double

NUM_NEIGHBORS = 3
"""How many neighbours a real row's surroundings reach to (Kynkaanniemi et al. 2019 take 3)."""
COPY_DISTANCE_RATIO = 1 / 3
"""A row so much nearer to one training row than to any other is a copy of it (Yoon et al. 2023)."""
MAX_DIRECT_FEATURES = 32
"""Numbers in a row up to which distances are taken one by one."""
MAX_COVARIANCE_FEATURES = 2048
"""Numbers a row may have for the covariance of all of them to be worth its room."""
ROWS_PER_CHUNK = 256
"""Rows whose distances to all others are held at a time."""


def frechet_distance(made: Tensor, real: Tensor) -> float:
    """The Frechet distance of two Gaussians fitted to features (N, D) and (M, D) (Heusel et al. 2017):

    ``|m - m'|^2 + tr(S + S' - 2 (S S')^(1/2))``. NaN for a single row.
    """
    if min(len(made), len(real)) < 2:
        return math.nan
    first, second = to_double(made), to_double(real)
    cov, other = first.T.cov(), second.T.cov()
    values, vectors = torch.linalg.eigh(cov.reshape(made.shape[1], -1))
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ other.reshape(root.shape) @ root).clamp(min=0).sqrt().sum()
    away = (first.mean(0) - second.mean(0)).square().sum()
    return float(away + cov.reshape(root.shape).trace() + other.reshape(root.shape).trace() - 2 * cross)


def precision_recall(made: Tensor, real: Tensor) -> tuple[float, float]:
    """Shares of made rows (N, D) that fall among real ones, and of real rows (M, D) among made ones.

    A row is among others if it is nearer to one of them than that one's third neighbour is (Kynkaanniemi et al. 2019).
    NaN where there are fewer.
    """
    if min(len(made), len(real)) <= NUM_NEIGHBORS:
        return math.nan, math.nan
    return _fraction_within(made, real), _fraction_within(real, made)


def _fraction_within(rows: Tensor, others: Tensor) -> float:
    reach = _nearest_distances(others, others, NUM_NEIGHBORS + 1)[:, -1]  # the first neighbour of a row is itself
    inside = [(torch.cdist(part, others) <= reach).any(1) for part in rows.split(ROWS_PER_CHUNK)]
    return float(torch.cat(inside).double().mean())


def copy_fraction(made: Tensor, seen: Tensor) -> float:
    """The share of made rows (N, D) that are copies of training rows (M, D); NaN if there are not two of these."""
    if len(seen) < 2:
        return math.nan
    first, second = _nearest_distances(made, seen, 2).unbind(1)
    return float((first <= COPY_DISTANCE_RATIO * second).double().mean())


def _nearest_distances(rows: Tensor, others: Tensor, count: int) -> Tensor:
    """The distances (N, count) of each row to its nearest others, in order."""
    # Products of matrices are quicker, and too rough for points that are few numbers and lie close.
    mode = (
        "use_mm_for_euclid_dist_if_necessary" if rows.shape[1] > MAX_DIRECT_FEATURES else "donot_use_mm_for_euclid_dist"
    )
    away = (torch.cdist(part, others, compute_mode=mode) for part in rows.split(ROWS_PER_CHUNK))
    return torch.cat([part.topk(count, largest=False).values for part in away])


def sample_gaussian(seen: Tensor, count: int) -> Tensor:
    """As many rows (count, D) of the Gaussian that fits rows (M, D), drawn from torch's generator.

    One that is wide beyond ``MAX_COVARIANCE_FEATURES`` has no correlations.
    """
    noise = torch.randn(count, seen.shape[1], dtype=torch.float64)
    rows = seen.double()
    centred = rows - rows.mean(0)
    if seen.shape[1] > MAX_COVARIANCE_FEATURES:
        return (rows.mean(0) + noise * centred.square().mean(0).sqrt()).to(seen)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(rows))
    return (rows.mean(0) + noise * values.clamp(min=0).sqrt() @ vectors.T).to(seen)


def gaussian_log_prob(seen: Tensor, x: Tensor) -> Tensor:
    """The log-density (N,), double, of rows x (N, D) under the Gaussian that fits rows (M, D)."""
    rows, x = seen.double(), x.double()
    centred = rows - rows.mean(0)
    if seen.shape[1] > MAX_COVARIANCE_FEATURES:
        deviation = centred.square().mean(0).sqrt()
        return normal_log_prob((x - rows.mean(0)) / deviation, deviation.log().sum())
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(rows))
    return normal_log_prob((x - rows.mean(0)) @ vectors / values.sqrt(), values.log().sum() / 2)


def normal_log_prob(standard: Tensor, log_volume: Tensor) -> Tensor:
    """The log-density (N,) of a Gaussian at rows that are standardised by it, (N, D), given the log of its volume."""
    return -(standard.square() + math.log(2 * math.pi)).sum(-1) / 2 - log_volume
