"""Graph structure with validated edges and cached adjacency matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainer.models.layers.graph.sparse import SparseMatrix, SparsePattern
from trainer.utils.text import format_dtype

AdjacencyNorm = Literal["sum", "mean", "symmetric"]


def validate_edges(edge_index: Tensor, edge_weight: Tensor | None, nodes: int) -> None:
    """Validate edge indices and weights.

    Args:
        edge_index: sources and targets (2, E).
        edge_weight: weights (E,), or None.
        nodes: number of nodes N.

    Raises:
        ValueError: indices that are not int64 (2, E) within 0..nodes - 1, or weights that are not finite and >= 0.
    """
    if edge_index.ndim != 2 or len(edge_index) != 2 or edge_index.dtype != torch.long:
        kind = format_dtype(edge_index.dtype)
        raise ValueError(f"edge_index: expected whole numbers (2, E), found {kind} {tuple(edge_index.shape)}")
    is_invalid = ((edge_index < 0) | (edge_index >= nodes)).any(0)
    if is_invalid.any():
        edge = int(is_invalid.nonzero()[0])
        source, target = edge_index[:, edge].tolist()
        raise ValueError(f"edge_index: edge {edge} is {source} -> {target}, but nodes are 0..{nodes - 1}")
    if edge_weight is None:
        return
    if edge_weight.shape != edge_index.shape[1:]:
        raise ValueError(f"edge_weight: {tuple(edge_weight.shape)} weights for {edge_index.shape[1]} edges")
    is_invalid = ~((edge_weight >= 0) & edge_weight.isfinite())
    if is_invalid.any():
        edge = int(is_invalid.nonzero()[0])
        raise ValueError(f"edge_weight: weights must be finite and >= 0; edge {edge} has {float(edge_weight[edge]):g}")


class Graph:
    """Directed graph of N nodes with edges from ``edge_index[0]`` to ``edge_index[1]``.

    Matrices are (N, N) with a row per target node, are built on first use and cached with the graph.

    Args:
        nodes: number of nodes N.
        edge_index: (2, E), int64.
        edge_weight: (E,) >= 0; None weights every edge by 1.
        edge_attr: edge features (E, D).
        dtype: dtype of the adjacency matrices.

    Raises:
        ValueError: invalid edges, see ``validate_edges``.
    """

    def __init__(
        self,
        nodes: int,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        # A check of training batches on an accelerator would synchronize; there the indexing kernels fail.
        is_checked = edge_index.device.type == "cpu" or not torch.is_grad_enabled()
        if is_checked and not torch.compiler.is_exporting():
            validate_edges(edge_index, edge_weight, nodes)
        if edge_attr is not None and edge_attr.shape[0] != edge_index.shape[1]:
            raise ValueError(f"edge_attr: features of {edge_attr.shape[0]} edges for {edge_index.shape[1]} edges")
        self.num_nodes = nodes
        # Detached copies: TensorCache keeps this graph until the original tensors are freed, so it must not hold them.
        self.edge_index = edge_index.detach()
        self.edge_weight = edge_weight if edge_weight is None or edge_weight.requires_grad else edge_weight.detach()
        self.edge_attr = edge_attr if edge_attr is None or edge_attr.requires_grad else edge_attr.detach()
        self.dtype = dtype
        self._adjacency: dict[tuple[AdjacencyNorm, bool], SparseMatrix] = {}
        self._neighbors: dict[int, NeighborPattern] = {}

    def get_adjacency(self, norm: AdjacencyNorm, loops: bool) -> SparseMatrix:
        """Return the adjacency matrix A, optionally with self-loops and normalized by the in-degree D.

        D sums the weights of incoming edges; a node without incoming edges has a zero row.

        Args:
            norm: ``sum``: A; ``mean``: D^-1 A; ``symmetric``: D^-1/2 A D^-1/2.
            loops: add a self-loop to each node.

        References:
            Kipf and Welling 2017, Semi-Supervised Classification with Graph Convolutional Networks, eq. 2
        """
        if (norm, loops) not in self._adjacency:
            self._adjacency[norm, loops] = self._normalize_adjacency(norm, loops)
        return self._adjacency[norm, loops]

    def _normalize_adjacency(self, norm: AdjacencyNorm, loops: bool) -> SparseMatrix:
        rows, cols, weight = (
            self.add_self_loops() if loops else (self.edge_index[1], self.edge_index[0], self.edge_weight)
        )
        one = torch.ones((), dtype=self.dtype, device=rows.device)
        weight = one.expand(rows.shape[0]) if weight is None else weight.to(self.dtype)
        if norm != "sum":
            degree = weight.new_zeros(self.num_nodes).index_add(0, rows, weight)
            degree = torch.where(degree > 0, degree, torch.inf)
            scale = degree.rsqrt()
            weight = scale[rows] * weight * scale[cols] if norm == "symmetric" else weight / degree[rows]
        pattern, order = SparsePattern.from_coo(rows, cols, (self.num_nodes, self.num_nodes))
        return SparseMatrix(pattern, weight[order])

    def get_neighbors(self, heads: int) -> NeighborPattern:
        """Return the attention pattern of each head over the neighbors of a node and the node itself."""
        if heads not in self._neighbors:
            self._neighbors[heads] = NeighborPattern.from_graph(self, heads)
        return self._neighbors[heads]

    def add_self_loops(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return targets, sources and weights of the edges with one self-loop per node.

        Existing self-loops keep their weight.
        """
        source, target = self.edge_index
        loop, nodes = source == target, torch.arange(self.num_nodes, device=source.device)
        if torch.compiler.is_exporting():  # keep the number of edges: a weight of 0 removes existing self-loops
            weight = torch.ones_like(source, dtype=self.dtype) if self.edge_weight is None else self.edge_weight
            node_of_loop = torch.where(loop, source, self.num_nodes)  # the last entry collects all other edges
            loop_weight = weight.new_ones(self.num_nodes + 1).scatter(0, node_of_loop, weight)[:-1]
            weight = torch.cat((weight.masked_fill(loop, 0), loop_weight))
            return torch.cat((target, nodes)), torch.cat((source, nodes)), weight
        targets, sources = torch.cat((target[~loop], nodes)), torch.cat((source[~loop], nodes))
        if self.edge_weight is None:
            return targets, sources, None
        loop_weight = self.edge_weight.new_ones(self.num_nodes).index_put((source[loop],), self.edge_weight[loop])
        return targets, sources, torch.cat((self.edge_weight[~loop], loop_weight))


@dataclass(frozen=True, eq=False)
class NeighborPattern:
    """Sparsity pattern of multi-head attention over graph neighbors.

    Attention with H heads on a graph is attention with one head on H copies of it: row i * H + h is node i in copy h.
    ``pattern`` is (N H, N H) with an entry per edge, self-loop and head; ``log_weight`` is None for unweighted edges.
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
