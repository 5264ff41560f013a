"""A spot that moves through noise: the test case of a network over pictures and time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset, DatasetInfo
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.generators import image_patterns
from trainer.data.reference import baselines
from trainer.data.splits.splitting import split_by_order


class MovingBlob(Dataset):
    """``x_t(p) = exp(-|p - p_0 - t v|^2 / (2 radius^2)) + noise`` on a square whose opposite edges touch, with p_0
    anywhere and v of length ``speed`` in one of ``directions``, the class. In each frame the place of the spot is
    uniform whatever the direction, so one frame says nothing about it, and all of them without their order in time say
    along which line the spot went, but not which way. A matched filter knows the spot and the speed, and is the best
    there is.
    """

    shapes = "x (B, T, C, H, W) -> (B)"

    def __init__(
        self,
        rows: PositiveInt = 4000,
        size: PositiveInt = 16,
        frames: PositiveInt = 6,
        directions: PositiveInt = 8,
        speed: PositiveFloat = 2.0,
        radius: PositiveFloat = 1.5,
        noise: NonNegativeFloat = 0.2,
        seed: NonNegativeInt = 0,
    ):
        random = rng.make_generator(seed)
        y = torch.randint(directions, (rows,), generator=random)
        start = size * torch.rand(rows, 1, 2, generator=random)
        steps = class_velocities(directions, speed)[:, None] * torch.arange(frames)[:, None]  # (directions, T, 2)
        x = render_blobs(start + steps[y], size, radius)
        x += noise * torch.randn(x.shape, generator=random)
        self.train, self.val, self.test = split_by_order({"x": x[:, :, None]}, y)
        found = matched_filter(x, steps, radius)
        self.info = DatasetInfo(
            sizes=image_patterns.image_sizes(x[:, :1], directions)
            | {"seq_len": frames, "flat_features": frames * size * size},
            baseline=baselines.majority_class(self.train, self.test, directions),
            best_possible={"accuracy": float((found == y).double().mean())},
        )


def class_velocities(directions: int, speed: float) -> Tensor:
    """Pixels down and across from frame to frame for each class, (directions, 2)."""
    angle = torch.arange(directions) * 2 * math.pi / directions
    return speed * torch.stack((angle.sin(), angle.cos()), 1)


def render_blobs(places: Tensor, size: int, radius: float) -> Tensor:
    """Pictures (..., size, size) of a spot around each of the places (..., 2), which go on at the opposite edge."""
    away = torch.arange(size) - places[..., None]  # (..., 2, size)
    near = (away + size / 2).remainder(size) - size / 2
    down, across = torch.exp(-(near**2) / (2 * radius**2)).unbind(-2)
    return down[..., :, None] * across[..., None, :]


def matched_filter(x: Tensor, steps: Tensor, radius: float) -> Tensor:
    """The direction whose spot, at its best start, agrees most with all frames: x (N, T, H, W), steps (K, T, 2) -> (N).

    A shift is a turn of phases, so all starts are tried at once.
    """
    size = x.shape[-1]
    waves = torch.fft.fftfreq(size)
    blank = torch.fft.fft2(render_blobs(torch.zeros(2), size, radius)).conj()
    phase = 2 * math.pi * (steps[..., :1, None] * waves[:, None] + steps[..., 1:, None] * waves)  # (K, T, H, W)
    turned = blank * torch.polar(torch.ones_like(phase), phase)
    agreement = torch.einsum("nthw,kthw->nkhw", torch.fft.fft2(x), turned)
    return torch.fft.ifft2(agreement).real.flatten(2).amax(2).argmax(1)
