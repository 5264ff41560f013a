"""Gaussian fitted to rows by maximum likelihood: samples and log-densities."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MAX_COVARIANCE_FEATURES = 2048
"""Maximum number of features for a full covariance matrix; above it, the covariance is diagonal."""


def sample_gaussian(data: Tensor, count: int) -> Tensor:
    """Sample from the Gaussian fitted to rows, with torch's default generator.

    Args:
        data: Rows ``(M, D)``; above ``MAX_COVARIANCE_FEATURES`` features the covariance is diagonal.
        count: Number of samples N.

    Returns:
        Samples ``(N, D)``.
    """
    noise = torch.randn(count, data.shape[1], dtype=torch.float64)
    rows = data.double()
    centered = rows - rows.mean(0)
    if data.shape[1] > MAX_COVARIANCE_FEATURES:
        return (rows.mean(0) + noise * centered.square().mean(0).sqrt()).to(data)
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(rows))
    return (rows.mean(0) + noise * values.clamp(min=0).sqrt() @ vectors.T).to(data)


def gaussian_log_prob(data: Tensor, x: Tensor) -> Tensor:
    """Return the log-density of rows under the Gaussian fitted to other rows.

    Args:
        data: Rows ``(M, D)`` to fit; above ``MAX_COVARIANCE_FEATURES`` features the covariance is diagonal.
        x: Rows ``(N, D)`` to evaluate.

    Returns:
        Log-density ``(N,)``, double.
    """
    rows, x = data.double(), x.double()
    centered = rows - rows.mean(0)
    if data.shape[1] > MAX_COVARIANCE_FEATURES:
        std = centered.square().mean(0).sqrt()
        return normal_log_prob((x - rows.mean(0)) / std, std.log().sum())
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(rows))
    return normal_log_prob((x - rows.mean(0)) @ vectors / values.sqrt(), values.log().sum() / 2)


def normal_log_prob(standardized: Tensor, log_volume: Tensor) -> Tensor:
    """Return the log-density of a Gaussian at standardized rows.

    Args:
        standardized: Rows ``(N, D)``, whitened by the Gaussian.
        log_volume: Half the log-determinant of its covariance, a scalar.

    Returns:
        Log-density ``(N,)``.
    """
    return -(standardized.square() + math.log(2 * math.pi)).sum(-1) / 2 - log_volume
