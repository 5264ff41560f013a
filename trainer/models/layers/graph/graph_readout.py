"""Graph readout: pooling of nodes into one vector per graph."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.weight_matrices import HasWeightMatrices, MatricesByName
from trainer.models.layers.graph.sparse import SparsePattern, row_softmax, sparse_matmul


class GraphPool(HasWeightMatrices):
    """Global pooling over the nodes of each graph in a batch.

    Nodes of a graph are contiguous. ``mean``, ``sum`` and ``max`` reduce over the nodes of a graph; ``attention``
    weights them by ``softmax_i(w . h_i)``. The vector of a graph does not depend on other graphs in the batch.

    Args:
        kind: ``mean``, ``sum``, ``max`` or ``attention``.
        width: number of node features D.

    Shape:
        h: (N, D)
        sizes: (G), nodes per graph
        output: (G, D)

    References:
        Li et al. 2016, Gated Graph Sequence Neural Networks, eq. 7
    """

    def __init__(self, kind: Literal["mean", "sum", "max", "attention"], width: int):
        super().__init__()
        self.kind = kind
        self.score = nn.Parameter(torch.randn(width) * width**-0.5) if kind == "attention" else None

    def weight_matrices(self) -> MatricesByName:
        return {} if self.score is None else {"score": [self.score.data[None]]}

    def forward(self, h: Tensor, sizes: Tensor) -> Tensor:
        starts = F.pad(sizes.cumsum(0), (1, 0))
        if self.score is None:
            return torch.segment_reduce(h, self.kind, offsets=starts, axis=0)
        membership = _make_membership(sizes, starts, len(h))
        # Elementwise product and sum, because autocast would run a matrix product in half precision.
        return sparse_matmul(membership, row_softmax(membership, (h * self.score).sum(1)), h)


def _make_membership(sizes: Tensor, starts: Tensor, nodes: int) -> SparsePattern:
    """Return the membership matrix of nodes in graphs, (G, N), without a device synchronization."""
    graph = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes, output_size=nodes)
    node = torch.arange(nodes + 1, device=sizes.device)
    return SparsePattern((len(sizes), nodes), graph, node[:-1], starts, node[:-1], graph, node)
