"""Two-dimensional Swiss roll with known density."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo, DensityInfo
from trainer.core.split import TensorSplit
from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.generators import gaussian_mixture
from trainer.data.readers import points
from trainer.data.splits.splitting import split_by_order
from trainer.metrics.gaussian import gaussian_log_prob

START_ANGLE, END_ANGLE = 1.5 * math.pi, 4.5 * math.pi
"""Range of the angle of the spiral: one and a half turns."""
STEPS_PER_SIGMA = 10
"""Integration steps of the density per ``sigma`` along the curve."""


class SwissRoll(Dataset):
    """Spiral with Gaussian noise.

    ``x = radius / END (t cos t, t sin t) + sigma e`` with t uniform from 1.5 to 4.5 pi and e standard normal. The
    density is the mean over t of a Gaussian around the curve, integrated by the midpoint rule. The baseline is one
    Gaussian fitted to the training points.

    Args:
        rows: Number of examples: 80 % training, 10 % validation, 10 % test.
        radius: Radius of the outer end; the inner end has a third of it.
        sigma: Standard deviation of the noise around the curve.
        seed: Random seed of the data.

    References:
        Sohl-Dickstein et al. 2015, Deep Unsupervised Learning using Nonequilibrium Thermodynamics, ICML.
        Roweis and Saul 2000, Nonlinear Dimensionality Reduction by Locally Linear Embedding, Science 290 (the 3-d
            roll).
    """

    shapes = "x (B, F) -> ()"

    def __init__(
        self,
        rows: PositiveInt = 20000,
        radius: PositiveFloat = 2.0,
        sigma: PositiveFloat = 0.1,
        seed: NonNegativeInt = 0,
    ):
        random = rng.make_generator(seed)
        position = torch.rand(rows, generator=random)
        x = spiral_points(position, radius) + sigma * torch.randn(rows, 2, generator=random)
        self.train, self.val, self.test = split_by_order({"x": x}, None, val=0.1, test=0.1)

        max_speed = (
            radius * (END_ANGLE - START_ANGLE) * math.hypot(1, 1 / END_ANGLE)
        )  # largest arc length per unit of position
        steps = math.ceil(STEPS_PER_SIGMA * max_speed / sigma)
        midpoints = spiral_points((torch.arange(steps, dtype=torch.float64) + 0.5) / steps, radius)
        log_likelihood = partial(gaussian_mixture.log_prob, centers=midpoints, sigma=sigma)
        train_x, test_x = self.train.inputs["x"], self.test.inputs["x"]
        best = float(log_likelihood(test_x).mean())
        gaussian = float(gaussian_log_prob(train_x, test_x).mean())
        self.info = DatasetInfo(
            sizes={"in_features": 2, "flat_features": 2},
            baseline={"log_likelihood": gaussian, "gap": best - gaussian},
            best_possible={"log_likelihood": best, "gap": 0.0, "energy_distance": 0.0},
            density=DensityInfo(log_likelihood=log_likelihood),
        )

    def read(self, path: str) -> TensorSplit:
        return points.read(path, 2)


def spiral_points(position: Tensor, radius: float) -> Tensor:
    """Return the points (N, 2) of the spiral.

    Args:
        position: Positions (N,) along the spiral, from 0 (inner end) to 1 (outer end).
        radius: Radius of the outer end.
    """
    angle = START_ANGLE + (END_ANGLE - START_ANGLE) * position
    return radius / END_ANGLE * angle[:, None] * torch.stack((angle.cos(), angle.sin()), 1)
