"""Ring of Gaussians, a standard toy data set for mode collapse."""

from __future__ import annotations

import math

import torch

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.split import TensorSplit
from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.generators import gaussian_mixture
from trainer.data.readers import points
from trainer.data.splits.splitting import split_by_order


class Ring(Dataset):
    """Mixture of Gaussians evenly spaced on a circle.

    ``x = radius (cos a, sin a) + sigma e`` with a one of ``modes`` evenly spaced angles and e standard normal. The
    target is the index of the mode.

    Args:
        rows: Number of examples: 80 % training, 10 % validation, 10 % test.
        modes: Number of Gaussians.
        radius: Radius of the circle.
        sigma: Standard deviation of each Gaussian.
        seed: Random seed of the data.

    References:
        Metz et al. 2017, Unrolled Generative Adversarial Networks, ICLR.
    """

    shapes = "x (B, F) -> (B)"

    def __init__(
        self,
        rows: PositiveInt = 20000,
        modes: PositiveInt = 8,
        radius: PositiveFloat = 2.0,
        sigma: PositiveFloat = 0.1,
        seed: NonNegativeInt = 0,
    ):
        random = rng.make_generator(seed)
        angle = torch.arange(modes) * (2 * math.pi / modes)
        centers = radius * torch.stack((angle.cos(), angle.sin()), dim=1)
        component = torch.randint(modes, (rows,), generator=random)
        x = centers[component] + sigma * torch.randn(rows, 2, generator=random)
        self.train, self.val, self.test = split_by_order({"x": x}, component, val=0.1, test=0.1)
        self.info = gaussian_mixture.make_info(self.train, self.test, centers, sigma, random)

    def read(self, path: str) -> TensorSplit:
        return points.read(path, 2)
