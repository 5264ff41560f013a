"""Graphs as neural networks see them: edges checked once, and the matrices that layers make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainer.models.layers.graph.sparse import SparseMatrix, SparsePattern
from trainer.utils.text import format_dtype

AdjacencyNorm = Literal["sum", "mean", "symmetric"]


def validate_edges(edge_index: Tensor, edge_weight: Tensor | None, nodes: int) -> None:
    """Raises ValueError for an edge that no graph of ``nodes`` nodes has, and for a weight that is no number >= 0."""
    if edge_index.ndim != 2 or len(edge_index) != 2 or edge_index.dtype != torch.long:
        kind = format_dtype(edge_index.dtype)
        raise ValueError(f"edge_index: expected whole numbers (2, E), found {kind} {tuple(edge_index.shape)}")
    outside = ((edge_index < 0) | (edge_index >= nodes)).any(0)
    if outside.any():
        at = int(outside.nonzero()[0])
        source, target = edge_index[:, at].tolist()
        raise ValueError(f"edge_index: edge {at} is {source} -> {target}, but nodes are 0..{nodes - 1}")
    if edge_weight is None:
        return
    if edge_weight.shape != edge_index.shape[1:]:
        raise ValueError(f"edge_weight: {tuple(edge_weight.shape)} weights for {edge_index.shape[1]} edges")
    wrong = ~((edge_weight >= 0) & edge_weight.isfinite())
    if wrong.any():
        at = int(wrong.nonzero()[0])
        raise ValueError(f"edge_weight: weights must be finite and >= 0; edge {at} has {float(edge_weight[at]):g}")


class Graph:
    """N nodes and the edges between them; an edge runs from ``edge_index[0]`` to ``edge_index[1]``.

    edge_index: (2, E) int64. edge_weight: (E,) >= 0, or None where every edge counts 1. edge_attr: (E, D) or None.
    A matrix (N, N) has targets for rows. Each is made when a layer first asks for it, and kept with the graph.

    Raises ValueError as ``validate_edges``.
    """

    def __init__(
        self,
        nodes: int,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        validate_edges(edge_index, edge_weight, nodes)
        if edge_attr is not None and len(edge_attr) != edge_index.shape[1]:
            raise ValueError(f"edge_attr: features of {len(edge_attr)} edges for {edge_index.shape[1]} edges")
        self.num_nodes = nodes
        # Not the very tensors: a Memo keeps what was made of those for as long as they live.
        self.edge_index = edge_index.detach()
        self.edge_weight = edge_weight if edge_weight is None or edge_weight.requires_grad else edge_weight.detach()
        self.edge_attr = edge_attr if edge_attr is None or edge_attr.requires_grad else edge_attr.detach()
        self.dtype = dtype
        self._adjacency: dict[tuple[AdjacencyNorm, bool], SparseMatrix] = {}
        self._neighbors: dict[int, NeighborPattern] = {}

    def get_adjacency(self, norm: AdjacencyNorm, loops: bool) -> SparseMatrix:
        """The weights ``A``, with every node its own neighbour if it has ``loops``, plain or normalised.

        ``sum``: A. ``mean``: D^-1 A. ``symmetric``: D^-1/2 A D^-1/2 (Kipf and Welling 2017, eq. 2). D are the sums of
        incoming weights; a node that nothing reaches has a row of zeros.
        """
        if (norm, loops) not in self._adjacency:
            self._adjacency[norm, loops] = self._normalize_adjacency(norm, loops)
        return self._adjacency[norm, loops]

    def _normalize_adjacency(self, norm: AdjacencyNorm, loops: bool) -> SparseMatrix:
        rows, cols, weight = (
            self.add_self_loops() if loops else (self.edge_index[1], self.edge_index[0], self.edge_weight)
        )
        one = torch.ones((), dtype=self.dtype, device=rows.device)
        weight = one.expand(len(rows)) if weight is None else weight.to(self.dtype)
        if norm != "sum":
            degree = weight.new_zeros(self.num_nodes).index_add(0, rows, weight)
            degree = torch.where(degree > 0, degree, torch.inf)
            scale = degree.rsqrt()
            weight = scale[rows] * weight * scale[cols] if norm == "symmetric" else weight / degree[rows]
        pattern, order = SparsePattern.from_coo(rows, cols, (self.num_nodes, self.num_nodes))
        return SparseMatrix(pattern, weight[order])

    def get_neighbors(self, heads: int) -> NeighborPattern:
        """Whom each head of each node may attend to: its neighbours and itself."""
        if heads not in self._neighbors:
            self._neighbors[heads] = NeighborPattern.from_graph(self, heads)
        return self._neighbors[heads]

    def add_self_loops(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Targets, sources and weights of the edges, with one loop on every node: those given keep their weight."""
        source, target = self.edge_index
        loop, every = source == target, torch.arange(self.num_nodes, device=source.device)
        targets, sources = torch.cat((target[~loop], every)), torch.cat((source[~loop], every))
        if self.edge_weight is None:
            return targets, sources, None
        own = self.edge_weight.new_ones(self.num_nodes).index_put((source[loop],), self.edge_weight[loop])
        return targets, sources, torch.cat((self.edge_weight[~loop], own))


@dataclass(frozen=True, eq=False)
class NeighborPattern:
    """Whom each head of each node may attend to.

    Attention with H heads on a graph is attention with one head on H copies of it: row i * H + h is node i in copy h.
    ``pattern`` is (N H, N H) with an entry per edge, loop and head; ``log_weight`` is None where every edge counts 1.
    """

    pattern: SparsePattern
    log_weight: Tensor | None

    @classmethod
    def from_graph(cls, graph: Graph, heads: int) -> NeighborPattern:
        targets, sources, weight = graph.add_self_loops()
        copy = torch.arange(heads, device=targets.device)
        rows, cols = ((index[:, None] * heads + copy).flatten() for index in (targets, sources))
        pattern, order = SparsePattern.from_coo(rows, cols, (graph.num_nodes * heads, graph.num_nodes * heads))
        return cls(pattern, None if weight is None else weight.log().repeat_interleave(heads)[order])
