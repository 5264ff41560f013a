"""One graph many times over: the same edges at every step of every row."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.models.layers.graph.graph import Graph, Neighbours, Norm
from trainer.models.layers.graph.sparse import Pattern, Sparse


class Copies(Graph):
    """A graph of N nodes ``count`` times side by side, without an edge between them: node n of copy k is k N + n.

    For layers that work with matrices: these are the ones of the graph, down the diagonal, so that nothing is sorted
    or normalised again. There is no list of edges.
    """

    def __init__(self, graph: Graph, count: int):
        self.nodes = graph.nodes * count
        self.graph = graph
        self.count = count

    def adjacency(self, norm: Norm, loops: bool) -> Sparse:
        one = self.graph.adjacency(norm, loops)
        return Sparse(tiled(one.pattern, self.count), one.values.repeat(self.count))

    def neighbours(self, heads: int) -> Neighbours:
        one = self.graph.neighbours(heads)
        weight = one.log_weight
        return Neighbours(tiled(one.pattern, self.count), None if weight is None else weight.repeat(self.count))


def tiled(pattern: Pattern, count: int) -> Pattern:
    """A pattern (R, C) of K entries ``count`` times down the diagonal."""
    (rows, cols), entries = pattern.shape, len(pattern.rows)

    def shifted(index: Tensor, by: int) -> Tensor:
        return (index + by * torch.arange(count, device=index.device)[:, None]).flatten()

    def starts(index: Tensor) -> Tensor:
        return torch.cat((shifted(index[:-1], entries), index.new_tensor([entries * count])))

    return Pattern(
        (rows * count, cols * count),
        shifted(pattern.rows, rows),
        shifted(pattern.cols, cols),
        starts(pattern.starts),
        shifted(pattern.by_col, entries),
        shifted(pattern.by_col_rows, rows),
        starts(pattern.col_starts),
    )
