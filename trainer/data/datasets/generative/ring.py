"""Points from Gaussians around a circle: a generator that loses a mode is seen to."""

from __future__ import annotations

import math

import torch

from trainer.core import rng
from trainer.core.dataset import Dataset, TensorSplit
from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.generators import gaussian_mixture
from trainer.data.readers import points
from trainer.data.splits.splitting import split_by_order


class Ring(Dataset):
    """``x = radius (cos a, sin a) + sigma e`` with a one of ``modes`` even angles and e normal (the toy of Metz et al.
    2017). The target is which of them.
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
        centres = radius * torch.stack((angle.cos(), angle.sin()), dim=1)
        chosen = torch.randint(modes, (rows,), generator=random)
        x = centres[chosen] + sigma * torch.randn(rows, 2, generator=random)
        self.train, self.val, self.test = split_by_order({"x": x}, chosen, val=0.1, test=0.1)
        self.info = gaussian_mixture.make_info(self.train, self.test, centres, sigma, random)

    def read(self, path: str) -> TensorSplit:
        return points.read(path, 2)
