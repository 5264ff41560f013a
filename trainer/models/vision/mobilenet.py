"""MobileNet of depthwise separable convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from trainer.core.types import PositiveFloat, PositiveInt
from trainer.models.layers.conv.residual import make_conv_norm
from trainer.models.layers.conv.separable_conv import adapt_strides, make_separable_conv

STEM = 32, 2
"""Channels and stride of the first convolution."""
PAIRS = (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)
"""Channels and stride of each depthwise separable convolution."""


class MobileNet(nn.Module):
    """MobileNet: a 3x3 convolution, 13 depthwise separable convolutions, global average pooling and a linear layer.

    Each convolution is followed by batch norm and ReLU6. A depthwise separable convolution has ``9 D + D E`` weights
    where a full one has ``9 D E``. The published strides halve an image of 224 pixels five times; for smaller images
    the first strides become 1, so that at least 2 pixels per side remain.

    Args:
        in_channels: number of image channels C.
        height: image height in pixels.
        width: image width in pixels.
        out_features: number of outputs C.
        width_multiplier: multiplier of the published channels.
        norm: norm after each convolution: batch (Ioffe and Szegedy 2015) or none.

    References:
        Howard et al. 2017, MobileNets.
        Sandler et al. 2018, MobileNetV2 (ReLU6).
    """

    shapes = "x (B, C, H, W) -> (B, C)"

    def __init__(
        self,
        in_channels: PositiveInt,
        height: PositiveInt,
        width: PositiveInt,
        out_features: PositiveInt,
        width_multiplier: PositiveFloat = 0.25,
        norm: Literal["none", "batch"] = "batch",
    ):
        super().__init__()
        first, *widths = (max(1, round(published * width_multiplier)) for published, _ in (STEM, *PAIRS))
        stride, *strides = adapt_strides([stride for _, stride in (STEM, *PAIRS)], (height, width))
        with_norm = norm == "batch"
        entry = make_conv_norm(in_channels, first, 3, stride, bias=not with_norm)
        self.stem = nn.Sequential(*entry[: 1 + with_norm], nn.ReLU6())
        widths_in = (first, *widths[:-1])
        self.blocks = nn.Sequential(*map(make_separable_conv, widths_in, widths, strides, [with_norm] * len(widths)))
        self.head = nn.Linear(widths[-1], out_features)

    def repeated_blocks(self) -> Sequence[nn.Module]:
        return tuple(self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))
