"""Gaussian fitted to rows by maximum likelihood: samples and log-densities."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MAX_COVARIANCE_FEATURES = 2048
"""Numbers a row may have for the covariance of all of them to be worth its room."""


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
