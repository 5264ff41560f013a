"""Graph readout: pooling of nodes into one vector per graph."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.weight_matrices import HasWeightMatrices, MatricesByName
from trainer.models.layers.graph.groups import group_softmax, max_groups, sum_groups
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
        if torch.compiler.is_exporting():
            return self._pool_groups(h, sizes)
        starts = F.pad(sizes.cumsum(0), (1, 0))
        if self.score is None:
            return torch.segment_reduce(h, self.kind, offsets=starts, axis=0)
        membership = _make_membership(sizes, starts, h.shape[0])
        # Elementwise product and sum, because autocast would run a matrix product in half precision.
        return sparse_matmul(membership, row_softmax(membership, (h * self.score).sum(1)), h)

    def _pool_groups(self, h: Tensor, sizes: Tensor) -> Tensor:
        """Pool in an exported program, by the index of the graph of each node."""
        nodes, graphs = h.shape[0], sizes.shape[0]
        # A graph begins where the nodes of those before it end; the last entry is the end of the last graph.
        begins = sizes.new_zeros(nodes + 1).index_add(0, sizes.cumsum(0), torch.ones_like(sizes))
        graph = begins.cumsum(0)[:-1]
        if self.kind == "max":
            return max_groups(h, graph, graphs)
        if self.score is not None:
            h = h * group_softmax((h * self.score).sum(1), graph, graphs)[:, None]
        total = sum_groups(h, graph, graphs)
        return total / sizes[:, None] if self.kind == "mean" else total


def _make_membership(sizes: Tensor, starts: Tensor, nodes: int) -> SparsePattern:
    """Return the membership matrix of nodes in graphs, (G, N), without a device synchronization."""
    graph = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes, output_size=nodes)
    node = torch.arange(nodes + 1, device=sizes.device)
    return SparsePattern((len(sizes), nodes), graph, node[:-1], starts, node[:-1], graph, node)
