"""Depthwise separable convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from trainer.models.layers.conv.residual import make_conv_norm


def make_separable_conv(in_channels: int, out_channels: int, stride: int, norm: bool = True) -> nn.Sequential:
    """Create a depthwise 3x3 and a pointwise 1x1 convolution, each with batch norm and ReLU6.

    Without norms the convolutions have biases.

    Shape:
        x: (B, before, H, W)
        output: (B, after, ceil(H / stride), ceil(W / stride))

    References:
        Howard et al. 2017, MobileNets
    """
    halves = (
        make_conv_norm(in_channels, in_channels, 3, stride, groups=in_channels, bias=not norm),
        make_conv_norm(in_channels, out_channels, 1, bias=not norm),
    )
    return nn.Sequential(*(layer for half in halves for layer in (*half[: 1 + norm], nn.ReLU6())))


def adapt_strides(strides: Sequence[int], sides: Sequence[int], least: int = 2) -> list[int]:
    """Adapt strides designed for large images to smaller ones.

    Keeps as many strides of 2 as leave a feature map of at least ``least`` pixels per side, rounded up; the first ones
    become 1, since early layers lose more resolution.
    """
    drop = sum(-(-min(sides) // 2**halvings) < least for halvings in range(1, strides.count(2) + 1))
    dropped = [index for index, stride in enumerate(strides) if stride == 2][:drop]
    return [1 if index in dropped else stride for index, stride in enumerate(strides)]
