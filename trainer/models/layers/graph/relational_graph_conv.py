"""Edges of several kinds, and a layer that has a matrix for each kind."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.core.weight_matrices import HasWeightMatrices, MatricesByName
from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.sparse import SparseMatrix, SparsePattern, sparse_dropout
from trainer.utils.text import format_dtype


def validate_edge_types(edge_type: Tensor, edges: int, relations: int) -> None:
    """Raises ValueError for what does not number the relation of each edge."""
    if edge_type.shape != (edges,) or edge_type.dtype != torch.long:
        kind = format_dtype(edge_type.dtype)
        raise ValueError(
            f"edge_type: expected the number of a relation for each of {edges} edges, whole numbers ({edges},);"
            f" found {kind} {tuple(edge_type.shape)}"
        )
    outside = (edge_type < 0) | (edge_type >= relations)
    if outside.any():
        at = int(outside.nonzero()[0])
        raise ValueError(f"edge_type: edge {at} is of relation {int(edge_type[at])}, but they are 0..{relations - 1}")


class RelationalGraph(Graph):
    """N nodes and edges of R relations between them; ``edge_type`` (E,) int64 says which.

    What a node hears by one relation is one mean, in which an edge of weight w counts as w edges. ``means`` (M, N)
    takes all M of them that are of anybody at all, relation after relation, ``counts`` of each, and ``sums`` (N, M)
    adds up those of a node. So work and memory follow the pairs of node and relation that occur, which are at most as
    many as edges, and not N R.

    Raises ValueError as ``validate_edge_types`` here and for graphs.
    """

    def __init__(
        self,
        nodes: int,
        edge_index: Tensor,
        edge_type: Tensor,
        relations: int,
        edge_weight: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__(nodes, edge_index, edge_weight, dtype=dtype)
        validate_edge_types(edge_type, edge_index.shape[1], relations)
        source, target = self.edge_index
        heard, row = (edge_type * nodes + target).unique(return_inverse=True)
        weight = torch.ones_like(row, dtype=dtype) if edge_weight is None else edge_weight.to(dtype)
        total = weight.new_zeros(len(heard)).index_add(0, row, weight)
        share = weight / torch.where(total > 0, total, torch.inf)[row]
        pattern, order = SparsePattern.from_coo(row, source, (len(heard), nodes))
        self.means = SparseMatrix(pattern, share[order])
        self.counts = (heard // nodes).bincount(minlength=relations).tolist()
        pattern, _ = SparsePattern.from_coo(
            heard % nodes, torch.arange(len(heard), device=heard.device), (nodes, len(heard))
        )
        self.sums = SparseMatrix(pattern, torch.ones_like(total))


class RGCNConv(HasWeightMatrices):
    """x (N, F), graph with relations -> (N, C)

    Schlichtkrull et al. 2018, eq. 2, without its activation: ``x_i W_own + sum_r mean_j x_j W_r + b`` over the
    neighbours j from which an edge of relation r runs to i. With ``bases`` matrices V_b, ``W_r = sum_b a_rb V_b``
    (eq. 3); null gives each relation a matrix of its own. While training, edges are dropped out, and not the loop.
    """

    def __init__(
        self, in_features: int, out_features: int, relations: int, bases: int | None = None, edge_dropout: float = 0.0
    ):
        super().__init__()
        self.edge_dropout = edge_dropout
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(in_features, out_features)))
        self.near = nn.Parameter(torch.empty(bases or relations, in_features, out_features))
        for matrix in self.near.data:
            nn.init.xavier_uniform_(matrix)
        # Of such a spread that the matrices they make are as large as the bases.
        self.share = None if bases is None else nn.Parameter(torch.randn(relations, bases) / bases**0.5)
        self.bias = nn.Parameter(torch.zeros(out_features))

    def weight_matrices(self) -> MatricesByName:
        """All lie (in, out). The shares of the bases are coefficients, and no map."""
        return {"weight": [self.weight.data.t()], "near": [matrix.t() for matrix in self.near.data]}

    def compute_relation_weights(self) -> Tensor:
        """The matrix of each relation, (R, F, C)."""
        return self.near if self.share is None else torch.tensordot(self.share, self.near, dims=1)

    def forward(self, x: Tensor, graph: RelationalGraph) -> Tensor:
        means = sparse_dropout(graph.means, self.edge_dropout, self.training) @ x  # (M, F)
        parts = zip(means.split(graph.counts), self.compute_relation_weights().unbind(), strict=True)
        return x @ self.weight + graph.sums @ torch.cat([part @ matrix for part, matrix in parts]) + self.bias
