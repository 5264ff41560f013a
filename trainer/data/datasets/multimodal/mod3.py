"""A sequence and an image that say something together and nothing alone: the test case of fusing inputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Data, Facts
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.generators import image_patterns
from trainer.data.reference import baselines
from trainer.data.splits.splitting import cut

CLASSES = 3


class Mod3(Data):
    """``y = (a + b) mod 3``: the sequence is a cosine that swings ``a + 1`` times, alike in every feature, the image
    has stripes at an angle of ``60 b`` degrees, each in noise. All nine pairs (a, b) are equally frequent, so y is
    uniform given either, and no sum ``f(sequence) + g(image)`` can tell it. The nearest pattern is the best guess at
    each.
    """

    shapes = "sequence (B, T, F), image (B, C, H, W) -> (B)"

    def __init__(
        self,
        rows: PositiveInt,
        length: PositiveInt,
        features: PositiveInt,
        size: PositiveInt,
        wavelength: PositiveFloat,
        noise: NonNegativeFloat,
        seed: NonNegativeInt,
    ):
        random = rng.generator(seed)
        a, b = torch.arange(rows) // CLASSES % CLASSES, torch.arange(rows) % CLASSES
        y = (a + b) % CLASSES
        waves, stripes = patterns(length, features, size, wavelength)
        sequence, image = (
            pattern + noise * torch.randn(pattern.shape, generator=random) for pattern in (waves[a], stripes[b])
        )
        self.train, self.val, self.test = cut({"sequence": sequence, "image": image}, y)
        guess = (nearest(sequence, waves) + nearest(image, stripes)) % CLASSES
        self.facts = Facts(
            sizes={"num_classes": CLASSES, "out_features": CLASSES},
            baseline=baselines.majority(self.train, self.test, CLASSES),
            best_possible={"accuracy": float((guess == y).double().mean())},
        )


def patterns(length: int, features: int, size: int, wavelength: float) -> tuple[Tensor, Tensor]:
    """What a sequence and an image of each class are without noise: (3, T, F), (3, 1, H, W)."""
    swings = 2 * math.pi / length * torch.arange(1, CLASSES + 1)[:, None] * torch.arange(length)
    waves = torch.cos(swings)[..., None].expand(-1, -1, features)
    return waves, torch.cos(image_patterns.stripes(size, CLASSES, wavelength))[:, None]


def nearest(x: Tensor, classes: Tensor) -> Tensor:
    """Which pattern (classes, ...) each row (N, ...) is nearest to, (N): the likeliest in Gaussian noise."""
    return torch.cdist(x.flatten(1), classes.flatten(1)).argmin(1)
