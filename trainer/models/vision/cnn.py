"""Configurable convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeVar

from torch import Tensor, nn

from trainer.core.types import NonNegativeInt, PositiveInt, Probability
from trainer.models.layers.conv.adaptive_pool import AdaptiveAvgPool, AdaptiveMaxPool
from trainer.utils.choices import get_choice

POOLS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}
ADAPTIVE_POOLS: dict[str, type[nn.Module]] = {"max": AdaptiveMaxPool, "avg": AdaptiveAvgPool}

T = TypeVar("T")


class CNN(nn.Module):
    """Convolutional network with layers ``pool(relu(norm(w * x + b)))`` and a fully connected head.

    ``*`` is cross-correlation. A pool halves both sides. Adaptive pooling reduces the last feature map to a fixed
    square, so that the head accepts every image size; without it the feature map is flattened.

    Args:
        in_channels: number of image channels C.
        height: image height in pixels.
        width: image width in pixels.
        out_features: number of outputs C.
        channels: output channels of each convolution.
        kernel: kernel size.
        stride: stride of the convolutions.
        padding: zero padding: same (keeps the size) or a number of pixels.
        dilations: dilation per convolution; one value applies to all.
        pools: pooling per convolution; one value applies to all.
        adaptive: adaptive pooling before the head.
        adaptive_size: side of the adaptively pooled feature map.
        norm: norm after each convolution: none or batch (Ioffe and Szegedy 2015).
        hidden: hidden layer sizes of the head.
        dropout: dropout probability after each fully connected layer.

    Raises:
        ValueError: lists that do not match the convolutions, or an image too small for them.

    References:
        LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition.
        Yu and Koltun 2016, Multi-Scale Context Aggregation by Dilated Convolutions.
    """

    shapes = "x (B, C, H, W) -> (B, C)"

    def __init__(
        self,
        in_channels: PositiveInt,
        height: PositiveInt,
        width: PositiveInt,
        out_features: PositiveInt,
        channels: Sequence[PositiveInt] = (16, 32, 64),
        kernel: PositiveInt = 3,
        stride: PositiveInt = 1,
        padding: NonNegativeInt | Literal["same"] = "same",
        dilations: Sequence[PositiveInt] = (1, 1, 2),
        pools: Sequence[Literal["max", "avg", "none"]] = ("max", "avg", "none"),
        adaptive: Literal["max", "avg", "none"] = "max",
        adaptive_size: PositiveInt = 4,
        norm: Literal["none", "batch"] = "none",
        hidden: Sequence[PositiveInt] = (128, 64),
        dropout: Probability = 0.0,
    ):
        super().__init__()
        if padding == "same" and stride > 1:
            raise ValueError(f"padding same keeps the size, so stride must be 1, not {stride}; give padding in pixels")
        dilations = _expand_per_layer("dilations", dilations, len(channels))
        pools = _expand_per_layer("pools", pools, len(channels))
        trunk: list[nn.Module] = []
        sides = [height, width]
        for layer, (width_in, width_out) in enumerate(pairwise((in_channels, *channels))):
            dilation, pool = dilations[layer], pools[layer]
            convolution = nn.Conv2d(width_in, width_out, kernel, stride, padding, dilation, bias=norm == "none")
            trunk += [convolution, *([nn.BatchNorm2d(width_out)] if norm == "batch" else []), nn.ReLU()]
            if padding != "same":
                sides = [(side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for side in sides]
            if pool != "none":
                trunk.append(get_choice("pools", pool, POOLS)(2))
                sides = [side // 2 for side in sides]
            if min(sides) < 1:
                raise ValueError(f"a {height} x {width} image has no pixels left after convolution {layer + 1}")
        if adaptive != "none":
            trunk.append(get_choice("adaptive", adaptive, ADAPTIVE_POOLS)(adaptive_size))
            sides = [adaptive_size, adaptive_size]
        self.trunk = nn.Sequential(*trunk)

        widths = ((channels or [in_channels])[-1] * sides[0] * sides[1], *hidden)
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
        self.head = nn.Sequential(*layers, nn.Linear(widths[-1], out_features))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x).flatten(1))


def _expand_per_layer(name: str, values: Sequence[T], layers: int) -> Sequence[T]:
    """Return one value per layer; a single value is repeated."""
    if len(values) not in (1, layers):
        raise ValueError(f"{name} needs 1 value or one for each of the {layers} channels; got {len(values)}")
    return values if len(values) == layers else [values[0]] * layers
