"""Residual networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from trainer.core.types import PositiveFloat, PositiveInt
from trainer.models.layers.conv.residual import ResNetTrunk
from trainer.utils.choices import get_choice

BLOCKS_PER_DEPTH = {
    10: [1, 1, 1, 1],
    18: [2, 2, 2, 2],
    34: [3, 4, 6, 3],
    50: [3, 4, 6, 3],
    101: [3, 4, 23, 3],
    152: [3, 8, 36, 3],
}
"""Blocks per stage, by the number of layers with weights."""
MIN_BOTTLENECK_DEPTH = 50
"""Depth from which blocks are bottlenecks by default."""


class ResNet(nn.Module):
    """ResNet with blocks ``relu(x + f(x))``, global average pooling and a linear head.

    The first stage has ``64 * width_multiplier`` channels and each further stage twice as many. Sides are halved
    rounding up, so that every image size is valid.

    Args:
        in_channels: number of image channels C.
        out_features: number of outputs C.
        depth: a published depth, or the number of blocks per stage.
        block: block type; None chooses bottlenecks from depth 50.
        width_multiplier: width multiplier of the published 64 channels, which double at each stage.
        stem: ``imagenet`` reduces each side to a quarter, ``small`` keeps the resolution.
        stem_norm: batch norm in the stem.
        bias: biases in the convolutions before a norm.

    Raises:
        ValueError: an empty list of blocks.

    References:
        He et al. 2015, Deep Residual Learning for Image Recognition
    """

    shapes = "x (B, C, H, W) -> (B, C)"

    def __init__(
        self,
        in_channels: PositiveInt,
        out_features: PositiveInt,
        depth: Literal[10, 18, 34, 50, 101, 152] | Sequence[PositiveInt] = (1, 1, 1),
        block: Literal["basic", "bottleneck"] | None = None,
        width_multiplier: PositiveFloat = 0.25,
        stem: Literal["imagenet", "small"] = "small",
        stem_norm: bool = True,
        bias: bool = False,
    ):
        super().__init__()
        blocks = get_choice("depth", depth, BLOCKS_PER_DEPTH) if isinstance(depth, int) else depth
        if not blocks:
            raise ValueError("depth needs at least one entry: the number of blocks per stage, such as [2, 2]")
        deep = isinstance(depth, int) and depth >= MIN_BOTTLENECK_DEPTH
        first = max(1, round(64 * width_multiplier))
        widths = [first * 2**stage for stage in range(len(blocks))]
        self.trunk = ResNetTrunk(
            in_channels, block or ("bottleneck" if deep else "basic"), blocks, widths, stem, stem_norm, bias
        )
        self.head = nn.Linear(self.trunk.out_channels, out_features)

    def repeated_blocks(self) -> Sequence[nn.Module]:
        return tuple(self.trunk.stages)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x).mean((2, 3)))
