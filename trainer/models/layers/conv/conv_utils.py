"""What networks that halve and double pictures share: the sizes on the way, and a norm for any number of maps."""

from __future__ import annotations

import math

from torch import nn

MAX_NORM_GROUPS = 8
"""Groups of a norm, at most."""


def compute_halved_sizes(height: int, width: int, count: int) -> list[tuple[int, int]]:
    """The size of a picture and what each of ``count`` halvings leaves of it, rounded up, the largest first."""
    return [(-(-height >> step), -(-width >> step)) for step in range(count + 1)]


def group_norm(width: int) -> nn.GroupNorm:
    """Wu and He 2018, with as many groups as divide the width: it looks at each row by itself."""
    return nn.GroupNorm(math.gcd(MAX_NORM_GROUPS, width), width)
