"""One graph many times over: the same edges at every step of every row."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.models.layers.graph.graph import AdjacencyNorm, Graph, NeighborPattern
from trainer.models.layers.graph.sparse import SparseMatrix, SparsePattern


class RepeatedGraph(Graph):
    """A graph of N nodes ``count`` times side by side, without an edge between them: node n of copy k is k N + n.

    For layers that work with matrices: these are the ones of the graph, down the diagonal, so that nothing is sorted
    or normalised again. There is no list of edges.
    """

    def __init__(self, graph: Graph, count: int):
        self.num_nodes = graph.num_nodes * count
        self.graph = graph
        self.count = count

    def get_adjacency(self, norm: AdjacencyNorm, loops: bool) -> SparseMatrix:
        one = self.graph.get_adjacency(norm, loops)
        return SparseMatrix(repeat_pattern(one.pattern, self.count), one.values.repeat(self.count))

    def get_neighbors(self, heads: int) -> NeighborPattern:
        one = self.graph.get_neighbors(heads)
        weight = one.log_weight
        return NeighborPattern(
            repeat_pattern(one.pattern, self.count), None if weight is None else weight.repeat(self.count)
        )


def repeat_pattern(pattern: SparsePattern, count: int) -> SparsePattern:
    """A pattern (R, C) of K entries ``count`` times down the diagonal."""
    (rows, cols), entries = pattern.shape, len(pattern.rows)

    def shifted(index: Tensor, by: int) -> Tensor:
        return (index + by * torch.arange(count, device=index.device)[:, None]).flatten()

    def starts(index: Tensor) -> Tensor:
        return torch.cat((shifted(index[:-1], entries), index.new_tensor([entries * count])))

    return SparsePattern(
        (rows * count, cols * count),
        shifted(pattern.rows, rows),
        shifted(pattern.cols, cols),
        starts(pattern.rowptr),
        shifted(pattern.col_order, entries),
        shifted(pattern.rows_by_col, rows),
        starts(pattern.colptr),
    )
