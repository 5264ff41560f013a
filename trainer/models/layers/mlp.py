"""A stack of linear layers with an activation between every two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn


def make_mlp(widths: Sequence[int], activation: Callable[[], nn.Module]) -> nn.Sequential:
    """(B, widths[0]) -> (B, widths[-1]), linear at the end; a single pair of widths is one linear layer."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out), activation()]
    return nn.Sequential(*layers[:-1])
