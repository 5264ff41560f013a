"""Moving blob in noise, a test case for video models."""

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


class MovingBlob(Dataset):
    """Classification of the direction of a moving Gaussian blob.

    ``x_t(p) = exp(-|p - p_0 - t v|^2 / (2 radius^2)) + noise`` on a torus, with p_0 uniform and v of length ``speed``
    in one of ``directions``, the class. The position in each frame is uniform for every direction, so single frames are
    uninformative, and the unordered set of frames gives the line of motion but not its sign. The best possible score is
    that of a matched filter that knows blob and speed.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        size: Height and width in pixels.
        frames: Number of frames T.
        directions: Number of directions (classes).
        speed: Speed in pixels per frame.
        radius: Standard deviation of the blob in pixels.
        noise: Standard deviation of the noise; the blob peaks at 1.
        seed: Random seed of the data.
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
        prediction = matched_filter(x, steps, radius)
        self.info = DatasetInfo(
            sizes=image_patterns.image_sizes(x[:, :1], directions)
            | {"seq_len": frames, "flat_features": frames * size * size},
            baseline=baselines.majority_class(self.train, self.test, directions),
            best_possible={"accuracy": float((prediction == y).double().mean())},
        )


def class_velocities(directions: int, speed: float) -> Tensor:
    """Return the velocity of each class in pixels per frame (down, across), (directions, 2).

    Args:
        directions: Number of evenly spaced directions.
        speed: Speed in pixels per frame.
    """
    angle = torch.arange(directions) * 2 * math.pi / directions
    return speed * torch.stack((angle.sin(), angle.cos()), 1)


def render_blobs(centers: Tensor, size: int, radius: float) -> Tensor:
    """Render images (..., size, size) of a blob, with periodic boundaries.

    Args:
        centers: Position (..., 2) of the blob in each image, in pixels (down, across).
        size: Height and width in pixels.
        radius: Standard deviation of the blob in pixels.
    """
    offset = torch.arange(size) - centers[..., None]  # (..., 2, size)
    distance = (offset + size / 2).remainder(size) - size / 2
    vertical, horizontal = torch.exp(-(distance**2) / (2 * radius**2)).unbind(-2)
    return vertical[..., :, None] * horizontal[..., None, :]


def matched_filter(x: Tensor, steps: Tensor, radius: float) -> Tensor:
    """Classify by the direction with the largest response over all starting points.

    All starts are evaluated at once by the Fourier shift theorem.

    Args:
        x: Frames (N, T, H, W).
        steps: Displacement (K, T, 2) from the start in each frame, by class, in pixels (down, across).
        radius: Standard deviation of the blob in pixels.

    Returns:
        Classes (N,).
    """
    size = x.shape[-1]
    frequencies = torch.fft.fftfreq(size)
    template = torch.fft.fft2(render_blobs(torch.zeros(2), size, radius)).conj()
    phase = (
        2 * math.pi * (steps[..., :1, None] * frequencies[:, None] + steps[..., 1:, None] * frequencies)
    )  # (K, T, H, W)
    shifted = template * torch.polar(torch.ones_like(phase), phase)
    response = torch.einsum("nthw,kthw->nkhw", torch.fft.fft2(x), shifted)
    return torch.fft.ifft2(response).real.flatten(2).amax(2).argmax(1)
