"""Relational graph convolution (R-GCN) for edges of several relation types."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.core.weight_matrices import HasWeightMatrices, MatricesByName
from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.groups import sum_groups
from trainer.models.layers.graph.sparse import SparseMatrix, SparsePattern, sparse_dropout
from trainer.utils.text import format_dtype


def validate_edge_types(edge_type: Tensor, edges: int, relations: int) -> None:
    """Validate the relation of each edge.

    Args:
        edge_type: relation of each edge.
        edges: number of edges E.
        relations: number of relations R.

    Raises:
        ValueError: not int64 (E,), or a relation outside 0..relations - 1.
    """
    if edge_type.shape != (edges,) or edge_type.dtype != torch.long:
        kind = format_dtype(edge_type.dtype)
        raise ValueError(
            f"edge_type: expected the number of a relation for each of {edges} edges, whole numbers ({edges},);"
            f" found {kind} {tuple(edge_type.shape)}"
        )
    is_invalid = (edge_type < 0) | (edge_type >= relations)
    if is_invalid.any():
        edge = int(is_invalid.nonzero()[0])
        relation = int(edge_type[edge])
        raise ValueError(f"edge_type: edge {edge} is of relation {relation}, but they are 0..{relations - 1}")


class RelationalGraph(Graph):
    """Graph with N nodes and edges of R relation types.

    Messages are averaged per node and relation, where an edge of weight w counts as w edges. Only the M pairs of node
    and relation that occur have a row, so work and memory grow with M <= E instead of N R: ``means`` (M, N) averages
    the neighbors, sorted by relation with ``counts`` rows each, and ``sums`` (N, M) adds the means of each node.

    Args:
        nodes: number of nodes N.
        edge_index: (2, E), int64.
        edge_type: relation of each edge (E,), int64.
        relations: number of relations R.
        edge_weight: (E,) >= 0; None weights every edge by 1.
        dtype: dtype of the matrices.

    Raises:
        ValueError: invalid edges or edge types, see ``validate_edges`` and ``validate_edge_types``.
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
        source, target = self.edge_index
        if torch.compiler.is_exporting():
            self.slot = edge_type * nodes + target
            weight = torch.ones_like(source, dtype=dtype) if edge_weight is None else edge_weight.to(dtype)
            total = sum_groups(weight, self.slot, relations * nodes)
            self.normalized = weight / torch.where(total > 0, total, torch.inf)[self.slot]
            return
        validate_edge_types(edge_type, edge_index.shape[1], relations)
        node_relation, row = (edge_type * nodes + target).unique(return_inverse=True)
        weight = torch.ones_like(row, dtype=dtype) if edge_weight is None else edge_weight.to(dtype)
        total = weight.new_zeros(len(node_relation)).index_add(0, row, weight)
        normalized = weight / torch.where(total > 0, total, torch.inf)[row]
        pattern, order = SparsePattern.from_coo(row, source, (len(node_relation), nodes))
        self.means = SparseMatrix(pattern, normalized[order])
        self.counts = (node_relation // nodes).bincount(minlength=relations).tolist()
        pattern, _ = SparsePattern.from_coo(
            node_relation % nodes,
            torch.arange(len(node_relation), device=node_relation.device),
            (nodes, len(node_relation)),
        )
        self.sums = SparseMatrix(pattern, torch.ones_like(total))

    def average_neighbors(self, x: Tensor, relations: int) -> Tensor:
        """Return the mean of the neighbors of each relation and node (R, N, F), in an exported program.

        Args:
            x: node features (N, F).
            relations: number of relations R.
        """
        messages = self.normalized[:, None] * x.index_select(0, self.edge_index[0])
        return sum_groups(messages, self.slot, relations * self.num_nodes).unflatten(0, (relations, self.num_nodes))


class RGCNConv(HasWeightMatrices):
    """Relational graph convolution ``x_i W_own + sum_r mean_j x_j W_r + b``, without activation.

    The mean runs over the neighbors j with an edge of relation r to i. With basis decomposition,
    ``W_r = sum_b a_rb V_b`` (eq. 3).

    Args:
        in_features: number of input features F.
        out_features: number of output features C.
        relations: number of relations R.
        bases: number of basis matrices V_b; None gives each relation its own matrix.
        edge_dropout: dropout probability of edges in training; the self-connection is always kept.

    Shape:
        x: (N, F)
        output: (N, C)

    References:
        Schlichtkrull et al. 2018, Modeling Relational Data with Graph Convolutional Networks, eq. 2 and 3
    """

    def __init__(
        self, in_features: int, out_features: int, relations: int, bases: int | None = None, edge_dropout: float = 0.0
    ):
        super().__init__()
        self.edge_dropout = edge_dropout
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(in_features, out_features)))
        self.relation_weight = nn.Parameter(torch.empty(bases or relations, in_features, out_features))
        for matrix in self.relation_weight.data:
            nn.init.xavier_uniform_(matrix)
        # Scaled so that the composed matrices have the variance of the bases.
        self.basis_coefficients = None if bases is None else nn.Parameter(torch.randn(relations, bases) / bases**0.5)
        self.bias = nn.Parameter(torch.zeros(out_features))

    def weight_matrices(self) -> MatricesByName:
        """Return all matrices transposed to (out, in), without the basis coefficients, which are no linear map."""
        return {
            "weight": [self.weight.data.t()],
            "relation_weight": [matrix.t() for matrix in self.relation_weight.data],
        }

    def compute_relation_weights(self) -> Tensor:
        """Return the weight matrix of each relation, (R, F, C)."""
        return (
            self.relation_weight
            if self.basis_coefficients is None
            else torch.tensordot(self.basis_coefficients, self.relation_weight, dims=1)
        )

    def forward(self, x: Tensor, graph: RelationalGraph) -> Tensor:
        weights = self.compute_relation_weights()
        if torch.compiler.is_exporting():
            return x @ self.weight + (graph.average_neighbors(x, weights.shape[0]) @ weights).sum(0) + self.bias
        means = sparse_dropout(graph.means, self.edge_dropout, self.training) @ x  # (M, F)
        parts = zip(means.split(graph.counts), weights.unbind(), strict=True)
        return x @ self.weight + graph.sums @ torch.cat([part @ matrix for part, matrix in parts]) + self.bias
