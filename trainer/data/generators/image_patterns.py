"""What data sets of images have in common."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.core.class_sizes import class_sizes


def image_sizes(x: Tensor, classes: int) -> dict[str, int]:
    """The sizes that images (N, C, H, W) of so many classes publish."""
    channels, height, width = x.shape[1:]
    return {
        "in_channels": channels,
        "height": height,
        "width": width,
        "flat_features": channels * height * width,
        **class_sizes(classes),
    }


def stripe_phases(size: int, classes: int, wavelength: float) -> Tensor:
    """The phase of each class's wave at each pixel, (classes, size, size), in radians.

    Class k runs at an angle of ``k pi / classes``.
    """
    angle = torch.arange(classes)[:, None, None] * math.pi / classes
    place = torch.arange(size, dtype=torch.float)
    along = place[:, None] * torch.cos(angle) + place * torch.sin(angle)
    return 2 * math.pi / wavelength * along
