"""One vector of the nodes of each graph in a batch, whichever network they come from."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.weight_matrices import HasWeightMatrices, MatricesByName
from trainer.models.layers.graph.sparse import SparsePattern, row_softmax, sparse_matmul


class GraphPool(HasWeightMatrices):
    """h (N, D), sizes (G) -> (G, D)

    The nodes of a graph stand together, ``sizes`` of them. ``mean``, ``sum`` and ``max`` run over a graph's own nodes;
    ``attention`` weighs them by ``softmax_i(w . h_i)`` among them (after Li et al. 2016, eq. 7). A graph's vector
    depends on no other graph.
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
        # Product and sum, not a product of matrices: that would be of half precision under autocast.
        return sparse_matmul(membership, row_softmax(membership, (h * self.score).sum(1)), h)


def _make_membership(sizes: Tensor, starts: Tensor, nodes: int) -> SparsePattern:
    """Which nodes are in which graph, (G, N), without waiting for the device to say how many."""
    graph = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes, output_size=nodes)
    node = torch.arange(nodes + 1, device=sizes.device)
    return SparsePattern((len(sizes), nodes), graph, node[:-1], starts, node[:-1], graph, node)
