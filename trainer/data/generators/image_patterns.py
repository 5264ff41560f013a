"""Image sizes and grating patterns."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.core.class_sizes import class_sizes


def image_sizes(x: Tensor, classes: int) -> dict[str, int]:
    """Return the sizes of images (N, C, H, W) with the given number of classes.

    Args:
        x: Images, (N, C, H, W).
        classes: Number of classes.
    """
    channels, height, width = x.shape[1:]
    return {
        "in_channels": channels,
        "height": height,
        "width": width,
        "flat_features": channels * height * width,
        **class_sizes(classes),
    }


def stripe_phases(size: int, classes: int, wavelength: float) -> Tensor:
    """Return the phase of the grating of each class at each pixel, (classes, size, size), in radians.

    The orientation of class k is ``k pi / classes``.

    Args:
        size: Height and width in pixels.
        classes: Number of classes.
        wavelength: Wavelength of the gratings in pixels.
    """
    angle = torch.arange(classes)[:, None, None] * math.pi / classes
    position = torch.arange(size, dtype=torch.float)
    projection = position[:, None] * torch.cos(angle) + position * torch.sin(angle)
    return 2 * math.pi / wavelength * projection
