"""Residual networks: blocks that learn what to add to their input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from trainer.core.types import PositiveFloat, PositiveInt
from trainer.models.layers.conv.residual import ResNetTrunk

BLOCKS_PER_DEPTH = {
    10: [1, 1, 1, 1],
    18: [2, 2, 2, 2],
    34: [3, 4, 6, 3],
    50: [3, 4, 6, 3],
    101: [3, 4, 23, 3],
    152: [3, 8, 36, 3],
}
"""Blocks of each size, by the number of layers that learn."""
MIN_BOTTLENECK_DEPTH = 50
"""From so many layers on a block is a bottleneck, unless one asks for the other."""


class ResNet(nn.Module):
    """He et al. 2015. A block gives ``relu(x + f(x))``, so that a deep network can do at least what a shallow one does.
    Each size of the map has twice the width of the one before, from ``64 * width_multiplier`` on; the last is averaged
    over its pixels and read by one linear layer. Every image fits: sides are halved rounding up.

    Raises ValueError for an empty list of blocks.
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
        blocks = BLOCKS_PER_DEPTH[depth] if isinstance(depth, int) else depth
        if not blocks:
            raise ValueError("depth needs at least one number: the blocks at each size of the map, as in [2, 2]")
        deep = isinstance(depth, int) and depth >= MIN_BOTTLENECK_DEPTH
        first = max(1, round(64 * width_multiplier))
        widths = [first * 2**stage for stage in range(len(blocks))]
        self.trunk = ResNetTrunk(
            in_channels, block or ("bottleneck" if deep else "basic"), blocks, widths, stem, stem_norm, bias
        )
        self.head = nn.Linear(self.trunk.out_channels, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x).mean((2, 3)))
