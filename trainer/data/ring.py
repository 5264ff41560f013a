"""Points from Gaussians around a circle: a generator that loses a mode is seen to."""

from __future__ import annotations

import math

import torch

from trainer import seeding
from trainer.data.base import Data, TensorSplit
from trainer.data.parts import mixture, points
from trainer.data.parts.splits import cut
from trainer.types import NonNegativeInt, PositiveFloat, PositiveInt


class Ring(Data):
    """x (B, F) -> (B)

    ``x = radius (cos a, sin a) + sigma e`` with a one of ``modes`` even angles and e normal (the toy of Metz et al.
    2017). The target is which of them.
    """

    def __init__(
        self,
        rows: PositiveInt,
        modes: PositiveInt,
        radius: PositiveFloat,
        sigma: PositiveFloat,
        seed: NonNegativeInt,
    ):
        random = seeding.generator(seed)
        angle = torch.arange(modes) * (2 * math.pi / modes)
        centres = radius * torch.stack((angle.cos(), angle.sin()), dim=1)
        chosen = torch.randint(modes, (rows,), generator=random)
        x = centres[chosen] + sigma * torch.randn(rows, 2, generator=random)
        self.train, self.val, self.test = cut({"x": x}, chosen, val=0.1, test=0.1)
        self.facts = mixture.facts(self.train, self.test, centres, sigma, random)

    def read(self, path: str) -> TensorSplit:
        return points.read(path, 2)
