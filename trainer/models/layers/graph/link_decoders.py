"""What two nodes are to each other, whichever of them is named first: nodes (N, W), pairs (P, 2) -> (P, 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gather_endpoints(nodes: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of ``nodes`` (N, W) that pairs (P, 2) name, first and second, (P, W) each.

    Raises ValueError for a node that is not there; on a GPU the device refuses it, as a look would make a step wait.
    """
    if pairs.device.type == "cpu" and not torch.compiler.is_compiling():
        outside = ((pairs < 0) | (pairs >= len(nodes))).any(1)
        if outside.any():
            at = int(outside.nonzero()[0])
            raise ValueError(f"pairs: pair {at} is {pairs[at].tolist()}, but nodes are 0..{len(nodes) - 1}")
    first, second = pairs.unbind(1)
    return nodes.index_select(0, first), nodes.index_select(0, second)


class DotDecoder(nn.Module):
    """``z_i . z_j + b``"""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, nodes: Tensor, pairs: Tensor) -> Tensor:
        first, second = gather_endpoints(nodes, pairs)
        return (first * second).sum(1, keepdim=True) + self.bias


class LinearDecoder(nn.Module):
    """``W [z_i, z_j] + b``, the mean of both orders: what a node adds is the same beside any other."""

    def __init__(self, width: int):
        super().__init__()
        self.out = nn.Linear(2 * width, 1)

    def forward(self, nodes: Tensor, pairs: Tensor) -> Tensor:
        first, second = gather_endpoints(F.linear(nodes, self.out.weight.view(2, -1).mean(0, keepdim=True)), pairs)
        return first + second + self.out.bias


class MLPDecoder(nn.Module):
    """``MLP(z_i * z_j)`` with one hidden layer of relu: a dot product that learns what to add up.

    The vectors are normed first: products of the small numbers that a deep encoder begins with teach nothing.
    """

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)

    def forward(self, nodes: Tensor, pairs: Tensor) -> Tensor:
        first, second = gather_endpoints(self.norm(nodes), pairs)
        return self.out(F.relu(self.hidden(first * second)))


DECODERS: dict[Literal["dot", "linear", "mlp"], Callable[[int], nn.Module]] = {
    "dot": lambda _: DotDecoder(),
    "linear": LinearDecoder,
    "mlp": MLPDecoder,
}
"""By the width of a node."""
