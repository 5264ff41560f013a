"""Image operations on x (B, C, H, W) with random numbers per row: uniform in [0, 1), (B, 1) or (B, 2) for x and y."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core.device_copy import create_on_device
from trainer.utils.errors import DataError

Draws = Mapping[str, Tensor]
ERASED_AREA_RANGE = (0.02, 0.33)
"""Range of the erased fraction of an image (Zhong et al. 2017)."""


@dataclass(frozen=True)
class GeometricTransform:
    """Flip, rotation, crop, shift and window as one affine transform.

    The output pixel at offset p from the center is the input pixel at offset ``c + s R f(p)``: flipped by f, rotated by
    R, scaled by s, shifted by c.

    Args:
        flips: Random flips along x and y.
        rotate: Maximum angle in degrees.
        crop: Maximum fraction of the area cropped away.
        shift: Maximum shift in pixels.
        window: Output side in pixels; None for the input size.
    """

    flips: tuple[bool, bool]
    rotate: float
    crop: float
    shift: int
    window: int | None

    def __bool__(self) -> bool:
        return any(self.flips) or bool(self.rotate or self.crop or self.shift or self.window)

    def sampling_grid(self, draws: Draws, height: int, width: int) -> Tensor:
        """Return the sampling grid (B, h, w, 2) in normalized coordinates, as for ``F.grid_sample``.

        Args:
            draws: Random numbers of each row, by purpose.
            height: Height of the images.
            width: Width of the images.

        Raises:
            DataError: The window is larger than the images.
        """
        if self.window is not None and self.window > min(height, width):
            raise DataError(f"window: {self.window} pixels exceed images of {height} x {width}")
        angle = to_signed(draws["angle"]) * math.radians(self.rotate)
        sides = (width, height) if self.window is None else (self.window, self.window)
        in_size, out_size = (create_on_device(size, angle.dtype, angle.device) for size in ((width, height), sides))
        scale = (1 - self.crop * draws["area"]).sqrt()
        flips = 1 - 2 * (draws["flip"] < 0.5 * create_on_device(self.flips, angle.dtype, angle.device)).float()
        rotation = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), -1).view(-1, 2, 2)
        linear = scale[..., None] * rotation * flips[:, None]
        center = (
            to_signed(draws["cut"]) * (1 - scale) * out_size / 2
            + to_integer(draws["shift"], 2 * self.shift + 1)
            - self.shift
        )
        center = center + to_integer(draws["window"], in_size - out_size + 1) + (out_size - in_size) / 2
        affine = torch.cat((linear * out_size / in_size[:, None], (center * 2 / in_size)[..., None]), 2)
        return F.affine_grid(affine, [len(angle), 1, *reversed(sides)], align_corners=False)


def to_signed(uniform: Tensor) -> Tensor:
    """Map [0, 1) to [-1, 1)."""
    return 2 * uniform - 1


def to_integer(uniform: Tensor, count: Tensor | int) -> Tensor:
    """Map uniform numbers in [0, 1) to integers 0..count - 1.

    Args:
        uniform: Uniform random numbers, of any shape.
        count: Number of integers, broadcast against ``uniform``.
    """
    return (uniform * count).floor()


def resample_images(x: Tensor, grid: Tensor, mode: str, blank: Tensor | float | None) -> Tensor:
    """Sample images at a grid.

    Args:
        x: Images, (B, C, H, W).
        grid: Sampling grid, (B, h, w, 2).
        mode: Interpolation, ``bilinear`` or ``nearest``.
        blank: Value beyond the border; None reflects the image.
    """
    if blank is None:
        return F.grid_sample(x, grid, mode, "reflection", align_corners=False)
    return F.grid_sample(x - blank, grid, mode, "zeros", align_corners=False) + blank


def jitter_colors(x: Tensor, draws: Draws, strength: float) -> Tensor:
    """Shift brightness by random standard deviations, and scale contrast and saturation by random factors.

    Args:
        x: Images (B, C, H, W).
        draws: Random numbers, with ``jitter`` (B, 3).
        strength: Maximum shift in standard deviations, and maximum difference of the factors from 1.
    """
    brightness, contrast, saturation = (strength * to_signed(draws["jitter"])[:, :, None, None, None]).unbind(1)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = x - mean
    # Ten times as fast as torch.std, which is not vectorized.
    std = torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True) / x[0].numel() ** 0.5
    x = x.mul_(1 + contrast).add_(mean + std * brightness)
    return x if x.shape[1] == 1 else torch.lerp(x.mean(1, keepdim=True), x, 1 + saturation)


def erase_boxes(x: Tensor, draws: Draws, probability: float) -> Tensor:
    """Replace a random box of some images by the mean of the image.

    Args:
        x: Images, (B, C, H, W).
        draws: Random numbers of each row, by purpose.
        probability: Probability of erasing.
    """
    low, high = ERASED_AREA_RANGE
    area = (low + (high - low) * draws["erased_area"]) * (draws["is_erased"] < probability)
    box, _ = random_boxes(x, area, draws["erased_at"])
    return torch.where(box[:, None], x.mean((1, 2, 3), keepdim=True), x)


def random_boxes(x: Tensor, area: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Return masks (B, H, W) of random boxes with the aspect ratio of the image, and their exact area fractions (B, 1).

    Args:
        x: Images, (B, C, H, W).
        area: Approximate area fraction, (B, 1).
        position: Uniform random numbers for the position, (B, 2).
    """
    sides = create_on_device((x.shape[-1], x.shape[-2]), area.dtype, area.device)
    length = (area.sqrt() * sides).round()  # (B, 2)
    start = to_integer(position, sides - length + 1)
    column_mask, row_mask = (
        (positions >= first[:, None]) & (positions < (first + size)[:, None])
        for positions, first, size in zip(
            (torch.arange(side, device=x.device) for side in (x.shape[-1], x.shape[-2])),
            start.unbind(1),
            length.unbind(1),
            strict=True,
        )
    )
    return row_mask[:, :, None] & column_mask[:, None, :], (length / sides).prod(1, keepdim=True)
