"""Points around equally likely centres: their exact density, and what is known of them."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from trainer.core.class_sizes import class_sizes
from trainer.core.dataset import DatasetInfo, TensorSplit
from trainer.data.reference import baselines
from trainer.metrics import metrics

CHUNK_SIZE = 1 << 22
"""How many distances are held at a time."""


def log_prob(x: Tensor, centres: Tensor, sigma: float) -> Tensor:
    """``log mean_k N(x; c_k, sigma^2 I)`` in nats, (B,) double, of points x (B, F) and centres (K, F)."""
    centres = centres.to(x.device).double()
    parts = x.double().split(max(1, CHUNK_SIZE // len(centres)))
    # The form that is exact for points far out: the quick one loses what is small beside their length.
    squares = (torch.cdist(part, centres, compute_mode="donot_use_mm_for_euclid_dist").square() for part in parts)
    nats = torch.cat([torch.logsumexp(-square / (2 * sigma**2), 1) for square in squares])
    return nats - math.log(len(centres)) - x.shape[1] * math.log(sigma * math.sqrt(2 * math.pi))


def make_info(
    train: TensorSplit, test: TensorSplit, centres: Tensor, sigma: float, random: torch.Generator
) -> DatasetInfo:
    """Of points x (N, F) whose targets are the centres (K, F) they were drawn around.

    The baseline of made points is one Gaussian fitted to the training points, that of classes the most frequent one.
    Within 3 sigma of a centre lies what a chi-squared number of F degrees of freedom leaves below 9.
    """
    modes, width = centres.shape
    seen, truth = train.inputs["x"], test.inputs["x"]
    root = torch.linalg.cholesky(seen.T.cov())
    guess = seen.mean(0) + torch.randn(truth.shape, generator=random) @ root.T
    broad = {"energy_distance": metrics.energy_distance(guess, truth), **metrics.mode_coverage(guess, centres, sigma)}
    within = float(torch.special.gammainc(torch.tensor(width / 2), torch.tensor(4.5)))
    return DatasetInfo(
        sizes={
            "in_features": width,
            "flat_features": width,
            **class_sizes(modes),
        },
        baseline={**baselines.majority_class(train, test, modes), **broad},
        best_possible={"energy_distance": 0.0, "modes": float(modes), "within": within},
        log_likelihood=partial(log_prob, centres=centres, sigma=sigma),
        modes=centres,
        mode_sigma=sigma,
    )
