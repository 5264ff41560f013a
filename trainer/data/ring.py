"""Points from Gaussians around a circle: a generator that loses a mode is seen to."""

from __future__ import annotations

import math
from functools import partial

import torch

from trainer import metrics, seeding
from trainer.data.base import Data, Facts, TensorSplit
from trainer.data.parts import mixture, points
from trainer.data.parts.splits import cut
from trainer.types import NonNegativeInt, PositiveFloat, PositiveInt


class Ring(Data):
    """x (B, F) -> (B)

    ``x = radius (cos a, sin a) + sigma e`` with a one of ``modes`` even angles and e normal (the toy of Metz et al.
    2017). The target is which of them. The baseline is one Gaussian fitted to the training points.
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

        seen, truth = self.train.inputs["x"], self.test.inputs["x"]
        root = torch.linalg.cholesky(seen.T.cov())
        guess = seen.mean(0) + torch.randn(truth.shape, generator=random) @ root.T
        coverage = metrics.mode_coverage(guess, centres, sigma)
        self.facts = Facts(
            sizes={
                "in_features": 2,
                "flat_features": 2,
                "num_classes": modes,
                "out_features": 1 if modes == 2 else modes,
            },
            baseline={"energy_distance": metrics.energy_distance(guess, truth), **coverage},
            best_possible={"energy_distance": 0.0, "modes": float(modes), "within": 1 - math.exp(-4.5)},
            log_likelihood=partial(mixture.log_density, centres=centres, sigma=sigma),
            modes=centres,
            mode_sigma=sigma,
        )

    def read(self, path: str) -> TensorSplit:
        return points.read(path, 2)
