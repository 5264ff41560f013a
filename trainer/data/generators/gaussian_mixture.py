"""Mixtures of equally likely isotropic Gaussians: exact density and data set info."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from trainer.core.class_sizes import class_sizes
from trainer.core.dataset_info import DatasetInfo, DensityInfo
from trainer.core.split import TensorSplit
from trainer.data.reference import baselines
from trainer.metrics.distances import energy_distance, mode_coverage

CHUNK_SIZE = 1 << 22
"""Number of distances computed at once."""


def log_prob(x: Tensor, centers: Tensor, sigma: float) -> Tensor:
    """Compute ``log mean_k N(x; c_k, sigma^2 I)`` in nats, (B,) float64, of points x (B, F) and centers (K, F).

    Args:
        x: Points, (B, F).
        centers: Centers, (K, F).
        sigma: Standard deviation of each Gaussian.
    """
    centers = centers.to(x.device).double()
    parts = x.double().split(max(1, CHUNK_SIZE // len(centers)))
    # The matrix-product form of cdist cancels catastrophically for distant points.
    squares = (torch.cdist(part, centers, compute_mode="donot_use_mm_for_euclid_dist").square() for part in parts)
    nats = torch.cat([torch.logsumexp(-square / (2 * sigma**2), 1) for square in squares])
    return nats - math.log(len(centers)) - x.shape[1] * math.log(sigma * math.sqrt(2 * math.pi))


def make_info(
    train: TensorSplit, test: TensorSplit, centers: Tensor, sigma: float, generator: torch.Generator
) -> DatasetInfo:
    """Return the info of points x (N, F) whose targets are the indices of their centers (K, F).

    The baseline of samples is one Gaussian fitted to the training points, that of classes the majority class. The
    probability of being within 3 sigma of a center is the chi-squared CDF with F degrees of freedom at 9.

    Args:
        train: Training split.
        test: Test split.
        centers: Centers, (K, F).
        sigma: Standard deviation of each Gaussian.
        generator: Random generator for the baseline.
    """
    modes, width = centers.shape
    train_x, test_x = train.inputs["x"], test.inputs["x"]
    cholesky = torch.linalg.cholesky(train_x.T.cov())
    samples = train_x.mean(0) + torch.randn(test_x.shape, generator=generator) @ cholesky.T
    gaussian_baseline = {
        "energy_distance": energy_distance(samples, test_x),
        **mode_coverage(samples, centers, sigma),
    }
    within_fraction = float(torch.special.gammainc(torch.tensor(width / 2), torch.tensor(4.5)))
    return DatasetInfo(
        sizes={
            "in_features": width,
            "flat_features": width,
            **class_sizes(modes),
        },
        baseline={**baselines.majority_class(train, test, modes), **gaussian_baseline},
        best_possible={"energy_distance": 0.0, "modes": float(modes), "within": within_fraction},
        density=DensityInfo(
            log_likelihood=partial(log_prob, centers=centers, sigma=sigma), modes=centers, mode_sigma=sigma
        ),
    )
