"""Residual blocks of convolutions, and the trunk they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

EXPANSION = {"basic": 1, "bottleneck": 4}
"""How many times its width a block gives."""


class ResNetTrunk(nn.Module):
    """x (B, C, H, W) -> (B, D, h, w), where D is ``out_channels``

    He et al. 2015. A stem, then one stage for each of ``widths``, of as many blocks as ``blocks`` says; every stage
    but the first begins by halving both sides, rounding up, so every image fits. The stem ``imagenet`` is a 7x7
    convolution and a max pool that leave a quarter of each side, ``small`` a 3x3 convolution that leaves all of it.

    A convolution before a norm has no bias unless ``bias``: the norm takes off what it adds. Without ``stem_norm`` the
    stem has one. A bottleneck halves at its 3x3 convolution, not at the 1x1 before, which would skip three pixels of
    four.

    Raises ValueError for lists of different lengths, or empty ones.
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
            raise ValueError(f"blocks and widths need one number for each stage; got {len(blocks)} and {len(widths)}")
        large = stem == "imagenet"
        entry = make_conv_norm(in_channels, widths[0], 7 if large else 3, 2 if large else 1, bias=bias or not stem_norm)
        layers = [*(entry if stem_norm else entry[:1]), nn.ReLU()]
        self.stem = nn.Sequential(*layers, *([nn.MaxPool2d(3, stride=2, padding=1)] if large else []))

        self.stages = nn.Sequential()
        before = widths[0]
        for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            after = width * EXPANSION[block]
            for place in range(count):
                stride = 2 if stage and not place else 1
                self.stages.append(ResidualBlock(block, before, width, stride, bias))
                before = after
        self.out_channels = before

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x))


class ResidualBlock(nn.Module):
    """x (B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride)), where D is the width times its ``EXPANSION``

    ``relu(branch(x) + shortcut(x))``. The branch is two 3x3 convolutions, or, as a bottleneck, a 3x3 one between a 1x1
    that narrows and a 1x1 that widens. The shortcut is the identity where it can be, else a 1x1 convolution.
    """

    def __init__(self, block: Literal["basic", "bottleneck"], before: int, width: int, stride: int, bias: bool):
        super().__init__()
        after = width * EXPANSION[block]
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*make_conv_norm(before, after, 1, stride, bias=bias))
        if block == "basic":
            layers = [
                *make_conv_norm(before, width, 3, stride, bias=bias),
                nn.ReLU(),
                *make_conv_norm(width, width, 3, bias=bias),
            ]
        else:
            layers = [
                *make_conv_norm(before, width, 1, bias=bias),
                nn.ReLU(),
                *make_conv_norm(width, width, 3, stride, bias=bias),
            ]
            layers += [nn.ReLU(), *make_conv_norm(width, after, 1, bias=bias)]
        self.branch = nn.Sequential(*layers)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.branch(x) + self.shortcut(x))


def make_conv_norm(
    before: int, after: int, kernel: int, stride: int = 1, *, groups: int = 1, bias: bool = False
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """A convolution that leaves ``ceil(side / stride)`` of each side, for odd kernels, and its batch norm."""
    convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=bias)
    return convolution, nn.BatchNorm2d(after)
