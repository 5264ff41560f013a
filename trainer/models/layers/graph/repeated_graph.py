"""Block-diagonal repetition of one graph over time steps and samples."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.models.layers.graph.graph import AdjacencyNorm, Graph, NeighborPattern
from trainer.models.layers.graph.sparse import SparseMatrix, SparsePattern


class RepeatedGraph(Graph):
    """Disjoint union of ``count`` copies of a graph with N nodes; node n of copy k has index k N + n.

    Provides only the matrices, as block-diagonal repetitions of those of ``graph``, so that nothing is sorted or
    normalized again. It has no edge list.

    Args:
        graph: graph of N nodes.
        count: number of copies.
    """

    def __init__(self, graph: Graph, count: int):
        self.num_nodes = graph.num_nodes * count
        self.graph = graph
        self.count = count

    def get_adjacency(self, norm: AdjacencyNorm, loops: bool) -> SparseMatrix:
        adjacency = self.graph.get_adjacency(norm, loops)
        return SparseMatrix(repeat_pattern(adjacency.pattern, self.count), adjacency.values.repeat(self.count))

    def get_neighbors(self, heads: int) -> NeighborPattern:
        neighbors = self.graph.get_neighbors(heads)
        weight = neighbors.log_weight
        return NeighborPattern(
            repeat_pattern(neighbors.pattern, self.count), None if weight is None else weight.repeat(self.count)
        )


def repeat_pattern(pattern: SparsePattern, count: int) -> SparsePattern:
    """Repeat a pattern (R, C) of K entries ``count`` times along the diagonal.

    Args:
        pattern: pattern (R, C) of K entries.
        count: number of repetitions.
    """
    (rows, cols), entries = pattern.shape, pattern.rows.shape[0]

    def repeat_with_offset(index: Tensor, offset: int) -> Tensor:
        return (index + offset * torch.arange(count, device=index.device)[:, None]).flatten()

    if torch.compiler.is_exporting():
        repeated_rows, repeated_cols = repeat_with_offset(pattern.rows, rows), repeat_with_offset(pattern.cols, cols)
        return SparsePattern.unsorted(repeated_rows, repeated_cols, (rows * count, cols * count))

    def repeat_pointers(index: Tensor) -> Tensor:
        return torch.cat((repeat_with_offset(index[:-1], entries), index.new_full((1,), entries * count)))

    return SparsePattern(
        (rows * count, cols * count),
        repeat_with_offset(pattern.rows, rows),
        repeat_with_offset(pattern.cols, cols),
        repeat_pointers(pattern.rowptr),
        repeat_with_offset(pattern.col_order, entries),
        repeat_with_offset(pattern.rows_by_col, rows),
        repeat_pointers(pattern.colptr),
    )
