"""EfficientNet with compound scaling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.conv.residual import make_conv_norm
from trainer.models.layers.conv.separable_conv import adapt_strides


@dataclass(frozen=True)
class Stage:
    """Stage of MBConv blocks.

    Attributes:
        expansion: channel expansion inside a block.
        width: output channels.
        blocks: number of blocks.
        stride: stride of the first block.
        kernel: kernel size of the depthwise convolutions.
    """

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
"""Channels of the convolutions before and after the stages."""


class EfficientNet(nn.Module):
    """EfficientNet, B0 scaled by the compound coefficient ``phi``.

    The published strides halve an image of 224 pixels five times; for smaller images the first strides become 1, so
    that at least 2 pixels per side remain.

    Args:
        in_channels: number of image channels C.
        height: image height in pixels.
        width: image width in pixels.
        out_features: number of outputs C.
        phi: 0 is B0; multiplies the blocks of each stage by ``1.2**phi``, rounded up, and the widths by ``1.1**phi``,
            rounded to multiples of 8. It may be negative or fractional. The resolution factor ``1.15**phi`` of the
            paper is left to the data set.
        stochastic_depth: drop probability of the residual branches, which increases linearly with depth to this value.
        dropout: dropout probability before the head.

    Raises:
        ValueError: ``phi`` outside -20..10, beyond which the network is empty or too large for memory.

    References:
        Tan and Le 2019, EfficientNet.
        Huang et al. 2016, Deep Networks with Stochastic Depth.
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
            raise ValueError(f"phi is an exponent and must be between -20 and 10, not {phi:g}; 0 is B0, about 7 is B7")
        first_stride, *strides = adapt_strides([2, *(stage.stride for stage in STAGES)], (height, width))
        width_in = make_divisible(STEM_WIDTH * 1.1**phi)
        self.stem = nn.Sequential(*make_conv_norm(in_channels, width_in, 3, first_stride), nn.SiLU())

        counts = [math.ceil(stage.blocks * 1.2**phi) for stage in STAGES]
        self.blocks = nn.Sequential()
        for stage, stride, count in zip(STAGES, strides, counts, strict=True):
            width_out = make_divisible(stage.width * 1.1**phi)
            for index in range(count):
                # The drop probability increases with depth (Huang et al. 2016).
                drop = stochastic_depth * len(self.blocks) / sum(counts)
                block = MBConv(width_in, width_out, stage.expansion, stage.kernel, 1 if index else stride, drop)
                self.blocks.append(block)
                width_in = width_out

        last = make_divisible(HEAD_WIDTH * 1.1**phi)
        self.conv_head = nn.Sequential(*make_conv_norm(width_in, last, 1), nn.SiLU())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, out_features))

    def repeated_blocks(self) -> Sequence[nn.Module]:
        return tuple(self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv_head(self.blocks(self.stem(x))).mean((2, 3)))


class MBConv(nn.Module):
    """Inverted residual block with squeeze-and-excitation.

    A 1x1 convolution expands, a depthwise convolution follows, the channels are rescaled, and a 1x1 convolution
    projects. The input is added if shapes match; ``drop`` is then the probability of skipping the branch for a sample
    in training.

    Args:
        in_channels: number of input channels C.
        out_channels: number of output channels D.
        expansion: factor by which the first convolution expands the channels.
        kernel: odd kernel size of the depthwise convolution.
        stride: stride of the depthwise convolution.
        drop: probability of skipping the branch.

    References:
        Sandler et al. 2018, MobileNetV2.
        Hu et al. 2018, Squeeze-and-Excitation Networks.
    """

    shapes = "x (B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride))"

    def __init__(self, in_channels: int, out_channels: int, expansion: int, kernel: int, stride: int, drop: float):
        super().__init__()
        expanded = in_channels * expansion
        expand = [*make_conv_norm(in_channels, expanded, 1), nn.SiLU()] if expansion > 1 else []
        depthwise = [*make_conv_norm(expanded, expanded, kernel, stride, groups=expanded), nn.SiLU()]
        self.branch = nn.Sequential(
            *expand,
            *depthwise,
            SqueezeExcite(expanded, max(1, in_channels // 4)),
            *make_conv_norm(expanded, out_channels, 1),
        )
        self.has_skip = in_channels == out_channels and stride == 1
        self.drop_path_rate = drop

    def forward(self, x: Tensor) -> Tensor:
        if not self.has_skip:
            return self.branch(x)
        keep = F.dropout(x.new_ones(x.shape[0], 1, 1, 1), self.drop_path_rate, self.training)
        return x + keep * self.branch(x)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation ``x * sigmoid(w2 silu(w1 mean(x)))``, which rescales each channel.

    Args:
        channels: number of channels C.
        squeezed: channels of the hidden layer.
    """

    shapes = "x (B, C, H, W) -> (B, C, H, W)"

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.SiLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def make_divisible(width: float) -> int:
    """Round to the nearest multiple of 8, or up if that would remove more than a tenth."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest + 8 * (nearest < 0.9 * width)
