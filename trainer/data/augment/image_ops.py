"""Changes of pictures x (B, C, H, W), each row by its own draws: numbers in [0, 1), (B, 1) or, for x and y, (B, 2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.utils.errors import ConfigError

Draws = Mapping[str, Tensor]
ERASED_AREA_RANGE = (0.02, 0.33)
"""The least and the largest share of a picture that is erased (Zhong et al. 2017)."""


@dataclass(frozen=True)
class GeometricTransform:
    """A flip across x and y, a turn by up to ``rotate`` degrees, a crop of up to a share of the area, a shift of up to
    so many pixels, and a window of so many pixels a side, all in one resampling.

    What is p pixels off the centre of what comes out was ``c + s R f(p)`` off the centre of what went in: flipped,
    turned by R, scaled by s, moved by c.
    """

    flips: tuple[bool, bool]
    rotate: float
    crop: float
    shift: int
    window: int | None

    def __bool__(self) -> bool:
        return any(self.flips) or bool(self.rotate or self.crop or self.shift or self.window)

    def sampling_grid(self, drawn: Draws, height: int, width: int) -> Tensor:
        """Where each pixel comes from, (B, h, w, 2), in halves of the sides of what goes in.

        Raises ConfigError for a window that is larger than the pictures.
        """
        if self.window is not None and self.window > min(height, width):
            raise ConfigError(f"augment.window: {self.window} pixels do not fit pictures of {height} x {width}")
        angle = to_signed(drawn["angle"]) * math.radians(self.rotate)
        sides = (width, height) if self.window is None else (self.window, self.window)
        into, out = angle.new_tensor([width, height]), angle.new_tensor(sides)
        scale = (1 - self.crop * drawn["area"]).sqrt()
        flips = 1 - 2 * (drawn["flip"] < 0.5 * into.new_tensor(self.flips)).float()
        turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), -1).view(-1, 2, 2)
        linear = scale[..., None] * turn * flips[:, None]
        centre = (
            to_signed(drawn["cut"]) * (1 - scale) * out / 2
            + to_integer(drawn["shift"], 2 * self.shift + 1)
            - self.shift
        )
        centre = centre + to_integer(drawn["window"], into - out + 1) + (out - into) / 2
        affine = torch.cat((linear * out / into[:, None], (centre * 2 / into)[..., None]), 2)
        return F.affine_grid(affine, [len(angle), 1, *reversed(sides)], align_corners=False)


def to_signed(drawn: Tensor) -> Tensor:
    """From -1 to 1."""
    return 2 * drawn - 1


def to_integer(drawn: Tensor, count: Tensor | int) -> Tensor:
    """From 0 to count - 1."""
    return (drawn * count).floor()


def resample_images(x: Tensor, grid: Tensor, mode: str, blank: Tensor | float | None) -> Tensor:
    """Pictures read at the places of a grid; beyond an edge is its reflection, or ``blank``."""
    if blank is None:
        return F.grid_sample(x, grid, mode, "reflection", align_corners=False)
    return F.grid_sample(x - blank, grid, mode, "zeros", align_corners=False) + blank


def jitter_colors(x: Tensor, drawn: Draws, by: float) -> Tensor:
    """Brightness moved by up to a share of a picture's own spread; contrast and saturation scaled by 1 +- the share."""
    brightness, contrast, colour = (by * to_signed(drawn["jitter"])[:, :, None, None, None]).unbind(1)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = x - mean
    # Ten times as fast as torch.std, which goes number by number.
    spread = torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True) / x[0].numel() ** 0.5
    x = x.mul_(1 + contrast).add_(mean + spread * brightness)
    return x if x.shape[1] == 1 else torch.lerp(x.mean(1, keepdim=True), x, 1 + colour)


def erase_boxes(x: Tensor, drawn: Draws, share: float) -> Tensor:
    """The mean of a picture in a box of it, in that share of the pictures."""
    low, high = ERASED_AREA_RANGE
    area = (low + (high - low) * drawn["erased_area"]) * (drawn["is_erased"] < share)
    inside, _ = random_boxes(x, area, drawn["erased_at"])
    return torch.where(inside[:, None], x.mean((1, 2, 3), keepdim=True), x)


def random_boxes(x: Tensor, area: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """A box shaped like the picture, somewhere in it, of about a share of its area (B, 1): (B, H, W), and what share
    it is in whole pixels (B, 1)."""
    sides = area.new_tensor([x.shape[-1], x.shape[-2]])
    length = (area.sqrt() * sides).round()  # (B, 2)
    start = to_integer(at, sides - length + 1)
    across, down = (
        (places >= first[:, None]) & (places < (first + many)[:, None])
        for places, first, many in zip(
            (torch.arange(side, device=x.device) for side in (x.shape[-1], x.shape[-2])),
            start.unbind(1),
            length.unbind(1),
            strict=True,
        )
    )
    return down[:, :, None] & across[:, None, :], (length / sides).prod(1, keepdim=True)
