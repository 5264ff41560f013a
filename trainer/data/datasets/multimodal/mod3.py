"""Synthetic sequence-image task whose modalities are informative only jointly; a test case of fusion."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.generators import image_patterns
from trainer.data.reference import baselines
from trainer.data.splits.splitting import split_by_order

NUM_CLASSES = 3


class Mod3(Dataset):
    """Modular addition of a sequence class and an image class.

    ``y = (a + b) mod 3``: the sequence is a noisy cosine of ``a + 1`` periods, equal in every feature; the image is a
    noisy grating at ``60 b`` degrees. All nine pairs (a, b) are equally frequent, so y is uniform given either modality
    and no additive model ``f(sequence) + g(image)`` can predict it. The best possible score classifies each modality by
    the nearest pattern.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        length: Sequence length T.
        features: Number of features F per step.
        size: Height and width of the image in pixels.
        wavelength: Wavelength of the grating in pixels.
        noise: Standard deviation of the noise in both modalities; patterns range from -1 to 1.
        seed: Random seed of the data.
    """

    shapes = "sequence (B, T, F), image (B, C, H, W) -> (B)"

    def __init__(
        self,
        rows: PositiveInt = 9000,
        length: PositiveInt = 10,
        features: PositiveInt = 8,
        size: PositiveInt = 28,
        wavelength: PositiveFloat = 7.0,
        noise: NonNegativeFloat = 1.0,
        seed: NonNegativeInt = 0,
    ):
        random = rng.make_generator(seed)
        a, b = torch.arange(rows) // NUM_CLASSES % NUM_CLASSES, torch.arange(rows) % NUM_CLASSES
        y = (a + b) % NUM_CLASSES
        waves, stripes = class_patterns(length, features, size, wavelength)
        sequence, image = (
            pattern + noise * torch.randn(pattern.shape, generator=random) for pattern in (waves[a], stripes[b])
        )
        self.train, self.val, self.test = split_by_order({"sequence": sequence, "image": image}, y)
        prediction = (nearest_pattern(sequence, waves) + nearest_pattern(image, stripes)) % NUM_CLASSES
        self.info = DatasetInfo(
            sizes={"num_classes": NUM_CLASSES, "out_features": NUM_CLASSES},
            baseline=baselines.majority_class(self.train, self.test, NUM_CLASSES),
            best_possible={"accuracy": float((prediction == y).double().mean())},
        )


def class_patterns(length: int, features: int, size: int, wavelength: float) -> tuple[Tensor, Tensor]:
    """Return the noise-free sequence (3, T, F) and image (3, 1, H, W) of each class.

    Args:
        length: Sequence length T.
        features: Number of features F.
        size: Height and width of the image in pixels.
        wavelength: Wavelength of the grating in pixels.
    """
    phase = 2 * math.pi / length * torch.arange(1, NUM_CLASSES + 1)[:, None] * torch.arange(length)
    waves = torch.cos(phase)[..., None].expand(-1, -1, features)
    return waves, torch.cos(image_patterns.stripe_phases(size, NUM_CLASSES, wavelength))[:, None]


def nearest_pattern(x: Tensor, patterns: Tensor) -> Tensor:
    """Return the maximum likelihood class (N,) under Gaussian noise, the nearest pattern.

    Args:
        x: Rows (N, ...).
        patterns: Noise-free row (K, ...) of each class.
    """
    return torch.cdist(x.flatten(1), patterns.flatten(1)).argmin(1)
