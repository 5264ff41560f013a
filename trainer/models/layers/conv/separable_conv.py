"""Depthwise separable convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from trainer.models.layers.conv.residual import make_conv_norm


def make_separable_conv(in_channels: int, out_channels: int, stride: int, norm: bool = True) -> nn.Sequential:
    """Create a depthwise 3x3 and a pointwise 1x1 convolution, each with batch norm and ReLU6.

    Without norms the convolutions have biases.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        stride: stride of the depthwise convolution.
        norm: batch norm after each convolution.

    Shape:
        x: (B, in_channels, H, W)
        output: (B, out_channels, ceil(H / stride), ceil(W / stride))

    References:
        Howard et al. 2017, MobileNets
    """
    layers = (
        make_conv_norm(in_channels, in_channels, 3, stride, groups=in_channels, bias=not norm),
        make_conv_norm(in_channels, out_channels, 1, bias=not norm),
    )
    return nn.Sequential(*(layer for conv_norm in layers for layer in (*conv_norm[: 1 + norm], nn.ReLU6())))


def adapt_strides(strides: Sequence[int], sides: Sequence[int], min_side: int = 2) -> list[int]:
    """Adapt strides designed for large images to smaller ones.

    Keeps as many strides of 2 as leave a feature map of at least ``min_side`` pixels per side, rounded up. The first
    ones become 1, since early layers lose more resolution.

    Args:
        strides: published strides, 1 or 2.
        sides: height and width of the image in pixels.
        min_side: minimum side of the last feature map in pixels.
    """
    drop = sum(-(-min(sides) // 2**halvings) < min_side for halvings in range(1, strides.count(2) + 1))
    dropped = [index for index, stride in enumerate(strides) if stride == 2][:drop]
    return [1 if index in dropped else stride for index, stride in enumerate(strides)]
