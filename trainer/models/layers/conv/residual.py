"""Residual blocks and the ResNet trunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from trainer.utils.choices import get_choice

EXPANSION = {"basic": 1, "bottleneck": 4}
"""Output channels of a block as a multiple of its width."""


class ResNetTrunk(nn.Module):
    """Convolutional trunk of a ResNet: a stem and stages of residual blocks.

    Each stage but the first halves the resolution, rounded up, so that every image size is valid. Convolutions before a
    batch norm have no bias by default, since the norm removes it. A bottleneck strides in its 3x3 convolution; striding
    in the 1x1 convolution before it would skip three of four pixels.

    Args:
        in_channels: number of image channels C.
        block: ``basic`` (two 3x3 convolutions) or ``bottleneck``.
        blocks: number of blocks per stage.
        widths: width of each stage.
        stem: ``imagenet`` is a strided 7x7 convolution and a max pool, which reduce each side to a quarter; ``small``
            is a 3x3 convolution at full resolution.
        stem_norm: batch norm in the stem; without it the stem convolution has a bias.
        bias: biases in the convolutions before a norm.

    Shape:
        x: (B, C, H, W)
        output: (B, out_channels, h, w)

    Raises:
        ValueError: empty lists or lists of different lengths.

    References:
        He et al. 2015, Deep Residual Learning for Image Recognition
    """

    def __init__(
        self,
        in_channels: int,
        block: Literal["basic", "bottleneck"],
        blocks: Sequence[int],
        widths: Sequence[int],
        stem: Literal["imagenet", "small"],
        stem_norm: bool = True,
        bias: bool = False,
    ):
        super().__init__()
        if not widths or len(blocks) != len(widths):
            raise ValueError(f"blocks and widths need one entry per stage; got {len(blocks)} and {len(widths)}")
        large = stem == "imagenet"
        entry = make_conv_norm(in_channels, widths[0], 7 if large else 3, 2 if large else 1, bias=bias or not stem_norm)
        layers = [*(entry if stem_norm else entry[:1]), nn.ReLU()]
        self.stem = nn.Sequential(*layers, *([nn.MaxPool2d(3, stride=2, padding=1)] if large else []))

        self.stages = nn.Sequential()
        width_in = widths[0]
        for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            width_out = width * get_choice("block", block, EXPANSION)
            for index in range(count):
                stride = 2 if stage and not index else 1
                self.stages.append(ResidualBlock(block, width_in, width, stride, bias))
                width_in = width_out
        self.out_channels = width_in

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x))


class ResidualBlock(nn.Module):
    """Residual block ``relu(branch(x) + shortcut(x))``.

    The branch is two 3x3 convolutions, or, as a bottleneck, a 3x3 convolution between a reducing and an expanding 1x1
    convolution. The shortcut is the identity if shapes match, else a 1x1 convolution.

    Args:
        block: ``basic`` or ``bottleneck``.
        in_channels: number of input channels C.
        width: channels of the 3x3 convolutions.
        stride: stride of the block, 1 or 2.
        bias: biases in the convolutions before a norm.

    Shape:
        x: (B, C, H, W)
        output: (B, D, ceil(H / stride), ceil(W / stride)), D = width * ``EXPANSION``
    """

    def __init__(self, block: Literal["basic", "bottleneck"], in_channels: int, width: int, stride: int, bias: bool):
        super().__init__()
        out_channels = width * get_choice("block", block, EXPANSION)
        same = in_channels == out_channels and stride == 1
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*make_conv_norm(in_channels, out_channels, 1, stride, bias=bias))
        )
        if block == "basic":
            layers = [
                *make_conv_norm(in_channels, width, 3, stride, bias=bias),
                nn.ReLU(),
                *make_conv_norm(width, width, 3, bias=bias),
            ]
        else:
            layers = [
                *make_conv_norm(in_channels, width, 1, bias=bias),
                nn.ReLU(),
                *make_conv_norm(width, width, 3, stride, bias=bias),
            ]
            layers += [nn.ReLU(), *make_conv_norm(width, out_channels, 1, bias=bias)]
        self.branch = nn.Sequential(*layers)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.branch(x) + self.shortcut(x))


def make_conv_norm(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, groups: int = 1, bias: bool = False
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Create a convolution with padding ``kernel // 2`` and its batch norm.

    For odd kernels each side becomes ``ceil(side / stride)``.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel: kernel size.
        stride: stride.
        groups: groups of the convolution.
        bias: bias of the convolution, redundant before a norm.
    """
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=bias)
    return convolution, nn.BatchNorm2d(out_channels)
