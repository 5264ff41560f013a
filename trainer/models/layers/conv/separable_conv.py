"""Convolutions cut in two: one filter a map over the pixels, then 1x1 filters over the maps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from trainer.models.layers.conv.residual import make_conv_norm


def make_separable_conv(before: int, after: int, stride: int, norm: bool = True) -> nn.Sequential:
    """(B, before, H, W) -> (B, after, ceil(H / stride), ceil(W / stride))

    Howard et al. 2017: a depthwise 3x3 and a pointwise 1x1 convolution, each with batch norm and ReLU6. Without norms
    the convolutions have biases.
    """
    halves = (
        make_conv_norm(before, before, 3, stride, groups=before, bias=not norm),
        make_conv_norm(before, after, 1, bias=not norm),
    )
    return nn.Sequential(*(layer for half in halves for layer in (*half[: 1 + norm], nn.ReLU6())))


def adapt_strides(strides: Sequence[int], sides: Sequence[int], least: int = 2) -> list[int]:
    """The strides of 1 and 2 made for a large image, for one of these sides.

    Only so many of the twos stay as leave a map of ``least`` pixels a side, rounded up; the first become ones, because
    early layers lose more by them.
    """
    drop = sum(-(-min(sides) // 2**halving) < least for halving in range(1, strides.count(2) + 1))
    first = [place for place, stride in enumerate(strides) if stride == 2][:drop]
    return [1 if place in first else stride for place, stride in enumerate(strides)]
