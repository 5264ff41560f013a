"""Symmetric link decoders: nodes (N, W), pairs (P, 2) -> logits (P, 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gather_endpoints(nodes: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Gather the embeddings of both nodes of each pair.

    Args:
        nodes: node embeddings.
        pairs: indices of both nodes of each pair.

    Shape:
        nodes: (N, W)
        pairs: (P, 2), int64
        output: two tensors (P, W)

    Raises:
        ValueError: a node outside 0..N - 1. Checked on the CPU only, because a check on a GPU would synchronize; there
            the indexing kernel fails.
    """
    if pairs.device.type == "cpu" and not torch.compiler.is_compiling():
        is_invalid = ((pairs < 0) | (pairs >= len(nodes))).any(1)
        if is_invalid.any():
            pair = int(is_invalid.nonzero()[0])
            raise ValueError(f"pairs: pair {pair} is {pairs[pair].tolist()}, but nodes are 0..{len(nodes) - 1}")
    first, second = pairs.unbind(1)
    return nodes.index_select(0, first), nodes.index_select(0, second)


class DotDecoder(nn.Module):
    """Inner product decoder ``z_i . z_j + b``."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, nodes: Tensor, pairs: Tensor) -> Tensor:
        first, second = gather_endpoints(nodes, pairs)
        return (first * second).sum(1, keepdim=True) + self.bias


class LinearDecoder(nn.Module):
    """Linear decoder ``W [z_i, z_j] + b``, averaged over both orders.

    Each node contributes the same to every pair.
    """

    def __init__(self, width: int):
        super().__init__()
        self.out = nn.Linear(2 * width, 1)

    def forward(self, nodes: Tensor, pairs: Tensor) -> Tensor:
        first, second = gather_endpoints(F.linear(nodes, self.out.weight.view(2, -1).mean(0, keepdim=True)), pairs)
        return first + second + self.out.bias


class MLPDecoder(nn.Module):
    """MLP decoder ``MLP(z_i * z_j)`` with one hidden ReLU layer, a generalized inner product.

    Layer norm comes first, because products of the small embeddings of an untrained deep encoder yield no useful
    gradient.
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
"""Link decoders by name, called with the node width."""
