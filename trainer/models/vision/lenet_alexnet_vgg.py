"""The classics: convolutions and pools, then three fully connected layers, at the sizes that suit the image.

All scale their maps and layers by one number. Each averages its last map to the size the paper has there, and leaves
a smaller one as it is, so that a large image costs no more weights than the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn

from trainer.core.types import PositiveFloat, PositiveInt, Probability
from trainer.models.layers.mlp import make_mlp

VGG_GROUPS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions of each group, by depth."""


class LeNet(nn.Module):
    """LeNet-5, LeCun et al. 1998: twice ``avgpool(tanh(conv5x5(x)))``, then 120, 84 and the classes. Every map of the
    second convolution sees all of the first, and the classes are linear, not distances to drawn letters.

    A convolution pads by 2 along a side on which its map is smaller than the paper's (32 and 14 pixels), as the paper
    did with pictures of 28. Maps above 5 x 5 are averaged to that.

    Raises ValueError for an image below 4 x 4.
    """

    shapes = "x (B, C, H, W) -> (B, C)"

    def __init__(
        self,
        in_channels: PositiveInt,
        height: PositiveInt,
        width: PositiveInt,
        out_features: PositiveInt,
        width_multiplier: PositiveFloat = 1.0,
    ):
        super().__init__()
        if min(height, width) < 4:
            raise ValueError(f"LeNet pools twice, which needs an image of 4 x 4 or more, not {height} x {width}")
        before, sides = in_channels, [height, width]
        layers: list[nn.Module] = []
        for published, usual in ((6, 32), (16, 14)):
            after = scale_width(published, width_multiplier)
            padding = 2 * (sides[0] < usual), 2 * (sides[1] < usual)
            layers += [nn.Conv2d(before, after, 5, padding=padding), nn.Tanh(), nn.AvgPool2d(2)]
            sides = [(side + 2 * zeros - 4) // 2 for side, zeros in zip(sides, padding, strict=True)]
            before = after
        self.trunk = nn.Sequential(*layers)
        hidden = [scale_width(120, width_multiplier), scale_width(84, width_multiplier)]
        self.head = _make_head(before, sides, 5, [*hidden, out_features], nn.Tanh)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))


class AlexNet(nn.Module):
    """Krizhevsky et al. 2012, in one column (Krizhevsky 2014) and without response normalisation: five convolutions
    with relu, overlapping 3x3 max pools behind the first, second and last, then 4096, 4096 and the classes, with
    dropout.

    An image of 64 pixels a side and more enters through an 11x11 convolution that keeps every fourth pixel, a smaller
    one through a 3x3 convolution that keeps all. A map below 3 x 3 is not pooled; one above 6 x 6 is averaged to that.
    """

    shapes = "x (B, C, H, W) -> (B, C)"

    def __init__(
        self,
        in_channels: PositiveInt,
        height: PositiveInt,
        width: PositiveInt,
        out_features: PositiveInt,
        width_multiplier: PositiveFloat = 0.25,
        dropout: Probability = 0.5,
    ):
        super().__init__()
        before, sides = in_channels, [height, width]
        layers: list[nn.Module] = []
        entry = (11, 4, 2) if min(sides) >= 64 else (3, 1, 1)
        kinds = (entry, (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
        pooled = (True, True, False, False, True)
        for published, (kernel, stride, padding), pool in zip((64, 192, 384, 256, 256), kinds, pooled, strict=True):
            after = scale_width(published, width_multiplier)
            layers += [nn.Conv2d(before, after, kernel, stride, padding), nn.ReLU()]
            sides = [(side + 2 * padding - kernel) // stride + 1 for side in sides]
            if pool and min(sides) >= 3:
                layers.append(nn.MaxPool2d(3, stride=2))
                sides = [(side - 3) // 2 + 1 for side in sides]
            before = after
        self.trunk = nn.Sequential(*layers)
        hidden = [scale_width(4096, width_multiplier)] * 2
        self.head = _make_head(before, sides, 6, [*hidden, out_features], _make_relu_dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))


class VGG(nn.Module):
    """Simonyan and Zisserman 2014: five groups of 3x3 convolutions with relu, each group behind its own 2x2 max pool,
    then 4096, 4096 and the classes, with dropout. The depth counts the layers that learn.

    A map below 2 x 2 is not pooled; one above 7 x 7 is averaged to that.
    """

    shapes = "x (B, C, H, W) -> (B, C)"

    def __init__(
        self,
        in_channels: PositiveInt,
        height: PositiveInt,
        width: PositiveInt,
        out_features: PositiveInt,
        depth: Literal[11, 13, 16, 19] = 11,
        norm: Literal["none", "batch"] = "batch",
        width_multiplier: PositiveFloat = 0.25,
        dropout: Probability = 0.5,
    ):
        super().__init__()
        before, sides = in_channels, [height, width]
        layers: list[nn.Module] = []
        for published, count in zip((64, 128, 256, 512, 512), VGG_GROUPS[depth], strict=True):
            after = scale_width(published, width_multiplier)
            for _ in range(count):
                layers.append(nn.Conv2d(before, after, 3, padding=1, bias=norm == "none"))
                layers += [*([nn.BatchNorm2d(after)] if norm == "batch" else []), nn.ReLU()]
                before = after
            if min(sides) >= 2:
                layers.append(nn.MaxPool2d(2))
                sides = [side // 2 for side in sides]
        self.trunk = nn.Sequential(*layers)
        hidden = [scale_width(4096, width_multiplier)] * 2
        self.head = _make_head(before, sides, 7, [*hidden, out_features], _make_relu_dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))


def scale_width(published: int, multiplier: float) -> int:
    """A width of the paper times the multiplier: at least 1."""
    return max(1, round(published * multiplier))


def _make_head(
    channels: int, sides: Sequence[int], most: int, widths: Sequence[int], activation: Callable[[], nn.Module]
) -> nn.Sequential:
    """(B, C, H, W) -> (B, widths[-1]): averages a map of these sides to at most ``most`` a side, and reads it flat."""
    height, width = (min(side, most) for side in sides)
    reader = make_mlp([channels * height * width, *widths], activation)
    return nn.Sequential(nn.AdaptiveAvgPool2d((height, width)), nn.Flatten(), reader)


def _make_relu_dropout(dropout: float) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.ReLU(), nn.Dropout(dropout))
