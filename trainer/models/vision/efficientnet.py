"""EfficientNet: one family of networks, scaled by one number."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.conv.residual import make_conv_norm
from trainer.models.layers.conv.separable_conv import adapt_strides


@dataclass(frozen=True)
class Stage:
    """Blocks of one width: how much each expands its maps, their width, number, first stride and kernel."""

    expansion: int
    width: int
    blocks: int
    stride: int
    kernel: int


STAGES = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2, 3),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1, 3),
)
STEM_WIDTH, HEAD_WIDTH = 32, 1280
"""Widths of the convolutions before and behind the stages."""


class EfficientNet(nn.Module):
    """Tan and Le 2019. B0 is ``phi`` 0; any other number, a negative one too, multiplies the blocks of each stage by
    ``1.2**phi``, rounded up, and the widths by ``1.1**phi``, rounded to multiples of 8. The third factor of the paper,
    ``1.15**phi`` for the sides of the image, is left to the data.

    The published strides halve an image of 224 five times. Of the halvings only so many stay as leave 2 pixels a side,
    the last ones; the strides before are 1.

    Raises ValueError for a ``phi`` beyond -20 to 10, where nothing is left or nothing holds it.
    """

    shapes = "x (B, C, H, W) -> (B, C)"

    def __init__(
        self,
        in_channels: PositiveInt,
        height: PositiveInt,
        width: PositiveInt,
        out_features: PositiveInt,
        phi: float = -8.0,
        stochastic_depth: Probability = 0.0,
        dropout: Probability = 0.2,
    ):
        super().__init__()
        if not -20 <= phi <= 10:
            raise ValueError(
                f"phi scales by powers of it and must be between -20 and 10, not {phi:g}; B0 has 0, B7 about 7"
            )
        first_stride, *strides = adapt_strides([2, *(stage.stride for stage in STAGES)], (height, width))
        before = make_divisible(STEM_WIDTH * 1.1**phi)
        self.stem = nn.Sequential(*make_conv_norm(in_channels, before, 3, first_stride), nn.SiLU())

        counts = [math.ceil(stage.blocks * 1.2**phi) for stage in STAGES]
        self.blocks = nn.Sequential()
        for stage, stride, count in zip(STAGES, strides, counts, strict=True):
            after = make_divisible(stage.width * 1.1**phi)
            for place in range(count):
                # The deeper a block, the more often it is passed by (Huang et al. 2016).
                drop = stochastic_depth * len(self.blocks) / sum(counts)
                block = MBConv(before, after, stage.expansion, stage.kernel, 1 if place else stride, drop)
                self.blocks.append(block)
                before = after

        last = make_divisible(HEAD_WIDTH * 1.1**phi)
        self.last = nn.Sequential(*make_conv_norm(before, last, 1), nn.SiLU())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, out_features))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.blocks(self.stem(x))).mean((2, 3)))


class MBConv(nn.Module):
    """Sandler et al. 2018, with squeeze-and-excitation (Hu et al. 2018): a 1x1 convolution widens, a depthwise one
    looks around, each map is weighed, a 1x1 convolution narrows. The input is added where it fits; then ``drop`` is how
    often, while training, a row has its input alone.
    """

    shapes = "x (B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride))"

    def __init__(self, before: int, after: int, expansion: int, kernel: int, stride: int, drop: float):
        super().__init__()
        wide = before * expansion
        widen = [*make_conv_norm(before, wide, 1), nn.SiLU()] if expansion > 1 else []
        around = [*make_conv_norm(wide, wide, kernel, stride, groups=wide), nn.SiLU()]
        self.branch = nn.Sequential(
            *widen, *around, SqueezeExcite(wide, max(1, before // 4)), *make_conv_norm(wide, after, 1)
        )
        self.has_skip = before == after and stride == 1
        self.drop_path_rate = drop

    def forward(self, x: Tensor) -> Tensor:
        if not self.has_skip:
            return self.branch(x)
        kept = F.dropout(x.new_ones(len(x), 1, 1, 1), self.drop_path_rate, self.training)
        return x + kept * self.branch(x)


class SqueezeExcite(nn.Module):
    shapes = "x (B, C, H, W) -> (B, C, H, W), ``x * sigmoid(w2 silu(w1 mean(x)))``: weighs each map by all of them."

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.SiLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x)


def make_divisible(width: float) -> int:
    """The nearest multiple of 8; the next one where that would take away more than a tenth."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest + 8 * (nearest < 0.9 * width)
