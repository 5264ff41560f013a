"""Frechet distance between features of generated and real rows (FID)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.metrics.double_precision import to_double


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
