"""Multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn


def make_mlp(widths: Sequence[int], activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Build an MLP with an activation between its linear layers and none after the last.

    Args:
        widths: layer sizes from input to output; two widths give a single linear layer.
        activation: factory of the activation module.

    Shape:
        input: (B, widths[0])
        output: (B, widths[-1])
    """
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out), activation()]
    return nn.Sequential(*layers[:-1])
