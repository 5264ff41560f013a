"""LeNet, AlexNet and VGG, adapted to the image size.

All scale their channels and hidden layers by ``width_multiplier``. The last feature map is average-pooled to the size
it has in the paper, or kept if smaller, so that large images need no more weights than in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn

from trainer.core.types import PositiveFloat, PositiveInt, Probability
from trainer.models.layers.conv.adaptive_pool import AdaptiveAvgPool
from trainer.models.layers.mlp import make_mlp
from trainer.utils.choices import get_choice

VGG_GROUPS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions per group, by depth."""


class LeNet(nn.Module):
    """LeNet-5: twice ``avgpool(tanh(conv5x5(x)))``, then fully connected layers of 120, 84 and the classes.

    The second convolution is fully connected to the first, and the output layer is linear instead of radial basis
    functions. A convolution pads by 2 along a side that is smaller than in the paper (32 and 14 pixels), as the paper
    did with images of 28. Feature maps above 5 x 5 are average-pooled to that.

    Args:
        in_channels: number of image channels C.
        height: image height in pixels.
        width: image width in pixels.
        out_features: number of outputs C.
        width_multiplier: multiplier of the published channels.

    Raises:
        ValueError: an image below 4 x 4.

    References:
        LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition
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
        width_in, sides = in_channels, [height, width]
        layers: list[nn.Module] = []
        for published, full_size in ((6, 32), (16, 14)):
            width_out = scale_width(published, width_multiplier)
            padding = 2 * (sides[0] < full_size), 2 * (sides[1] < full_size)
            layers += [nn.Conv2d(width_in, width_out, 5, padding=padding), nn.Tanh(), nn.AvgPool2d(2)]
            sides = [(side + 2 * pad - 4) // 2 for side, pad in zip(sides, padding, strict=True)]
            width_in = width_out
        self.trunk = nn.Sequential(*layers)
        hidden = [scale_width(120, width_multiplier), scale_width(84, width_multiplier)]
        self.head = _make_head(width_in, sides, 5, [*hidden, out_features], nn.Tanh)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))


class AlexNet(nn.Module):
    """AlexNet in one column, without local response normalization.

    Five convolutions with ReLU, overlapping 3x3 max pools after the first, second and last, then fully connected layers
    of 4096, 4096 and the classes, with dropout. The first convolution is 11x11 with stride 4 for images of 64 pixels a
    side and more, 3x3 with stride 1 for smaller ones. Feature maps below 3 x 3 are not pooled; those above 6 x 6 are
    average-pooled to that.

    Args:
        in_channels: number of image channels C.
        height: image height in pixels.
        width: image width in pixels.
        out_features: number of outputs C.
        width_multiplier: multiplier of the published channels and layer sizes.
        dropout: dropout probability after each fully connected layer.

    References:
        Krizhevsky et al. 2012, ImageNet Classification with Deep Convolutional Neural Networks.
        Krizhevsky 2014, One Weird Trick for Parallelizing Convolutional Neural Networks.
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
        width_in, sides = in_channels, [height, width]
        layers: list[nn.Module] = []
        entry = (11, 4, 2) if min(sides) >= 64 else (3, 1, 1)
        convolutions = (entry, (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
        pooled = (True, True, False, False, True)
        for published, (kernel, stride, padding), pool in zip(
            (64, 192, 384, 256, 256), convolutions, pooled, strict=True
        ):
            width_out = scale_width(published, width_multiplier)
            layers += [nn.Conv2d(width_in, width_out, kernel, stride, padding), nn.ReLU()]
            sides = [(side + 2 * padding - kernel) // stride + 1 for side in sides]
            if pool and min(sides) >= 3:
                layers.append(nn.MaxPool2d(3, stride=2))
                sides = [(side - 3) // 2 + 1 for side in sides]
            width_in = width_out
        self.trunk = nn.Sequential(*layers)
        hidden = [scale_width(4096, width_multiplier)] * 2
        self.head = _make_head(width_in, sides, 6, [*hidden, out_features], _make_relu_dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))


class VGG(nn.Module):
    """VGG: five groups of 3x3 convolutions with ReLU, each followed by a 2x2 max pool, then 4096, 4096 and the classes.

    Feature maps below 2 x 2 are not pooled; those above 7 x 7 are average-pooled to that.

    Args:
        in_channels: number of image channels C.
        height: image height in pixels.
        width: image width in pixels.
        out_features: number of outputs C.
        depth: number of layers with weights.
        norm: batch (Ioffe and Szegedy 2015) or none; deep variants hardly train without batch norm.
        width_multiplier: multiplier of the published channels and layer sizes.
        dropout: dropout probability in the fully connected layers.

    References:
        Simonyan and Zisserman 2014, Very Deep Convolutional Networks for Large-Scale Image Recognition
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
        width_in, sides = in_channels, [height, width]
        layers: list[nn.Module] = []
        counts = get_choice("depth", depth, VGG_GROUPS)
        for published, count in zip((64, 128, 256, 512, 512), counts, strict=True):
            width_out = scale_width(published, width_multiplier)
            for _ in range(count):
                layers.append(nn.Conv2d(width_in, width_out, 3, padding=1, bias=norm == "none"))
                layers += [*([nn.BatchNorm2d(width_out)] if norm == "batch" else []), nn.ReLU()]
                width_in = width_out
            if min(sides) >= 2:
                layers.append(nn.MaxPool2d(2))
                sides = [side // 2 for side in sides]
        self.trunk = nn.Sequential(*layers)
        hidden = [scale_width(4096, width_multiplier)] * 2
        self.head = _make_head(width_in, sides, 7, [*hidden, out_features], _make_relu_dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))


def scale_width(published: int, multiplier: float) -> int:
    """Scale a published width by the multiplier, to at least 1.

    Args:
        published: channels or units in the paper.
        multiplier: factor, > 0.
    """
    return max(1, round(published * multiplier))


def _make_head(
    channels: int, sides: Sequence[int], max_side: int, widths: Sequence[int], activation: Callable[[], nn.Module]
) -> nn.Sequential:
    """Create the head (B, C, H, W) -> (B, widths[-1]): average pooling to at most ``max_side`` and an MLP."""
    height, width = (min(side, max_side) for side in sides)
    mlp = make_mlp([channels * height * width, *widths], activation)
    return nn.Sequential(AdaptiveAvgPool((height, width)), nn.Flatten(), mlp)


def _make_relu_dropout(dropout: float) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.ReLU(), nn.Dropout(dropout))
