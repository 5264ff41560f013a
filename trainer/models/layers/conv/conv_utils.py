"""Feature map sizes and group norm for convolutional encoders and decoders."""

from __future__ import annotations

import math

from torch import nn

MAX_NORM_GROUPS = 8
"""Maximum number of groups of a group norm."""


def compute_halved_sizes(height: int, width: int, count: int) -> list[tuple[int, int]]:
    """Return the sizes of an image after 0 to ``count`` halvings, each rounded up, largest first.

    Args:
        height: image height in pixels.
        width: image width in pixels.
        count: number of halvings.
    """
    return [(-(-height >> step), -(-width >> step)) for step in range(count + 1)]


def group_norm(width: int) -> nn.GroupNorm:
    """Create a group norm with the largest number of groups up to 8 that divides the width.

    References:
        Wu and He 2018, Group Normalization
    """
    return nn.GroupNorm(math.gcd(MAX_NORM_GROUPS, width), width)
