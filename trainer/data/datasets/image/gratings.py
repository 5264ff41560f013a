"""Oriented gratings in noise, a test case for convolutions."""

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


class Gratings(Dataset):
    """Classification of the orientation of a sinusoidal grating.

    ``x(u, v) = cos(2 pi (u cos a + v sin a) / wavelength + phase) + noise``, with the angle ``a`` one of ``classes``
    between 0 and 180 degrees and a uniform phase. Rows come in pairs of one class with opposite phase and independent
    noise: the mean image of every class is zero, so a linear model scores at chance. The best possible score is that of
    a matched filter that knows the wavelength.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        size: Height and width in pixels.
        classes: Number of orientations between 0 and 180 degrees.
        wavelength: Wavelength in pixels.
        noise: Standard deviation of the noise; gratings range from -1 to 1.
        seed: Random seed of the data.
    """

    shapes = "x (B, C, H, W) -> (B)"

    def __init__(
        self,
        rows: PositiveInt = 6000,
        size: PositiveInt = 28,
        classes: PositiveInt = 10,
        wavelength: PositiveFloat = 7.0,
        noise: NonNegativeFloat = 1.0,
        seed: NonNegativeInt = 0,
    ):
        random = rng.make_generator(seed)
        pairs = -(-rows // 2)
        y = torch.randint(classes, (pairs,), generator=random).repeat_interleave(2)[:rows]
        phase = 2 * math.pi * torch.rand(pairs, 1, 1, generator=random)
        phase = torch.stack((phase, phase + math.pi), dim=1).flatten(0, 1)[:rows]
        phases = image_patterns.stripe_phases(size, classes, wavelength)
        x = torch.cos(phases[y] + phase)
        x += noise * torch.randn(x.shape, generator=random)
        self.train, self.val, self.test = split_by_order({"x": x[:, None]}, y)
        self.info = DatasetInfo(
            sizes=image_patterns.image_sizes(x[:, None], classes),
            baseline=baselines.majority_class(self.train, self.test, classes),
            best_possible={"accuracy": float((matched_filter(x, phases) == y).double().mean())},
        )


def matched_filter(x: Tensor, phases: Tensor) -> Tensor:
    """Classify by the template with the largest response at its best phase.

    Args:
        x: Images (N, H, W).
        phases: Phase (K, H, W) of the stripes of each class.

    Returns:
        Classes (N,).
    """
    templates = torch.polar(torch.ones_like(phases), phases).flatten(1)
    return (x.flatten(1).to(templates.dtype) @ templates.T).abs().argmax(1)
