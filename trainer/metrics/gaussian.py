"""Gaussian fitted to rows by maximum likelihood: samples and log-densities."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MAX_COVARIANCE_FEATURES = 2048
"""Numbers a row may have for the covariance of all of them to be worth its room."""


def sample_gaussian(data: Tensor, count: int) -> Tensor:
    """As many rows (count, D) of the Gaussian that fits rows (M, D), drawn from torch's generator.

    One that is wide beyond ``MAX_COVARIANCE_FEATURES`` has no correlations.
    """
    noise = torch.randn(count, data.shape[1], dtype=torch.float64)
    rows = data.double()
    centered = rows - rows.mean(0)
    if data.shape[1] > MAX_COVARIANCE_FEATURES:
        return (rows.mean(0) + noise * centered.square().mean(0).sqrt()).to(data)
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(rows))
    return (rows.mean(0) + noise * values.clamp(min=0).sqrt() @ vectors.T).to(data)


def gaussian_log_prob(data: Tensor, x: Tensor) -> Tensor:
    """The log-density (N,), double, of rows x (N, D) under the Gaussian that fits rows (M, D)."""
    rows, x = data.double(), x.double()
    centered = rows - rows.mean(0)
    if data.shape[1] > MAX_COVARIANCE_FEATURES:
        std = centered.square().mean(0).sqrt()
        return normal_log_prob((x - rows.mean(0)) / std, std.log().sum())
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(rows))
    return normal_log_prob((x - rows.mean(0)) @ vectors / values.sqrt(), values.log().sum() / 2)


def normal_log_prob(standardized: Tensor, log_volume: Tensor) -> Tensor:
    """The log-density (N,) of a Gaussian at rows that are standardised by it, (N, D), given the log of its volume."""
    return -(standardized.square() + math.log(2 * math.pi)).sum(-1) / 2 - log_volume
