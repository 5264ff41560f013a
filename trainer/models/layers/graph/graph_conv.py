"""Layers that send along the edges of a graph: x (N, F), graph -> (N, C).

Each applies its weights before it sends, so that sparse features cost what is not zero in them, and what travels is
as narrow as the output.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.weight_matrices import HasWeightMatrices, MatricesByName
from trainer.models.layers.graph.graph import AdjacencyNorm, Graph
from trainer.models.layers.graph.sparse import SparseMatrix, SparsePattern, row_softmax, sparse_dropout, sparse_matmul


def _make_weight(rows: int, cols: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, cols)))


class _TransposedWeights(HasWeightMatrices):
    """A layer whose matrices are multiplied from the right, (in, out), and so lie across torch's."""

    def weight_matrices(self) -> MatricesByName:
        own = {name: value.data for name, value in self.named_parameters(recurse=False)}
        return {name: [value.t()] for name, value in own.items() if value.dim() == 2}


class NodeLinear(nn.Linear):
    """x (N, F), graph -> (N, C): every node by itself, to see what the edges are worth."""

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:  # type: ignore[override]
        return x @ self.weight.t() + self.bias


class GCNConv(_TransposedWeights):
    """x (N, F), graph -> (N, C)

    ``A (X W) + b`` with A the adjacency with self-loops: ``symmetric`` is Kipf and Welling 2017, ``sum`` adds up the
    neighbours, ``mean`` averages them. The bias does not pass through the adjacency.
    """

    def __init__(self, in_features: int, out_features: int, norm: AdjacencyNorm = "symmetric"):
        super().__init__()
        self.norm = norm
        self.weight = _make_weight(in_features, out_features)
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:
        return graph.get_adjacency(self.norm, loops=True) @ (x @ self.weight) + self.bias


class SAGEConv(_TransposedWeights):
    """x (N, F), graph -> (N, C)

    Hamilton et al. 2017, the mean aggregator: ``x_i W + mean_j x_j W_near + b`` over the neighbours j of i; a node
    without any has the first term alone.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = _make_weight(in_features, out_features)
        self.weight_near = _make_weight(in_features, out_features)
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:
        return x @ self.weight + graph.get_adjacency("mean", loops=False) @ (x @ self.weight_near) + self.bias


class GINConv(_TransposedWeights):
    """x (N, F), graph -> (N, C)

    Xu et al. 2019, eq. 4.1: ``MLP((1 + eps) x_i + sum_j x_j)`` over the neighbours j of i, with eps learned from 0 and
    an MLP of one hidden layer, normed over the nodes. Its first matrix is applied before the sum, which changes
    nothing.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = _make_weight(in_features, out_features)
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.eps = nn.Parameter(torch.zeros(()))
        self.norm = nn.BatchNorm1d(out_features)
        self.out = nn.Linear(out_features, out_features)

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:
        h = x @ self.weight
        h = (1 + self.eps) * h + graph.get_adjacency("sum", loops=False) @ h + self.bias
        return self.out(F.relu(self.norm(h)))


class EdgeMessageConv(_TransposedWeights):
    """x (N, F), graph with edge_attr (E, D) -> (N, C)

    ``x_i + mean_j ReLU(W [x_i, x_j, e_ji] + b)`` over the edges j -> i (messages as in Gilmer et al. 2017, eq. 1). The
    first term, through a matrix where widths differ, keeps what a node is when nothing reaches it.
    """

    def __init__(self, in_features: int, out_features: int, edge_features: int):
        super().__init__()
        self.in_features = in_features
        self.message = nn.Linear(2 * in_features + edge_features, out_features)
        self.weight = None if in_features == out_features else _make_weight(in_features, out_features)

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:
        assert graph.edge_attr is not None, "messages over edges need edge_attr"
        source, target = graph.edge_index
        width = self.in_features
        to_target, to_source, of_edge = self.message.weight.split((width, width, graph.edge_attr.shape[1]), 1)
        at_target, at_source = x @ to_target.t(), x @ to_source.t()  # per node: there are fewer of them than edges
        edge = F.linear(graph.edge_attr.to(at_target.dtype), of_edge, self.message.bias)
        message = F.relu(at_target.index_select(0, target) + at_source.index_select(0, source) + edge)
        total = message.new_zeros(graph.num_nodes, message.shape[1]).index_add(0, target, message)
        count = torch.bincount(target, minlength=graph.num_nodes).clamp(min=1)
        return self._project_self(x) + total / count[:, None]

    def _project_self(self, x: Tensor | SparseMatrix) -> Tensor:
        if self.weight is not None:
            return x @ self.weight
        return x if isinstance(x, Tensor) else x @ torch.eye(self.in_features).to(x.values)


class _BaseGATConv(HasWeightMatrices):
    """Heads that each weigh a node's neighbours, itself among them, and sum what they are projected to.

    Their sums are laid side by side, or averaged. An edge of weight w counts as w edges: its log is added to the
    score, so weight 0 is no edge, and a node that has none, its loop included, has the bias alone.
    """

    def __init__(
        self, in_features: int, out_features: int, heads: int, concat: bool, dropout: float, negative_slope: float
    ):
        super().__init__()
        self.heads = heads
        self.concat = concat
        self.dropout = dropout
        self.negative_slope = negative_slope
        self.weight = _make_weight(in_features, heads * out_features)
        self.bias = nn.Parameter(torch.zeros(heads * out_features if concat else out_features))

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:
        h = self.project_heads(x, self.weight)
        share = sparse_dropout(self.compute_attention(x, h, graph), self.dropout, self.training)
        out = sparse_matmul(graph.get_neighbors(self.heads).pattern, share, h.flatten(0, 1)).view_as(h)
        return (out.flatten(1) if self.concat else out.mean(1)) + self.bias

    def project_heads(self, x: Tensor | SparseMatrix, weight: Tensor) -> Tensor:
        """Every node as every head sees it, (N, H, C)."""
        return (x @ weight).view(-1, self.heads, weight.shape[1] // self.heads)

    def compute_attention(self, x: Tensor | SparseMatrix, h: Tensor, graph: Graph) -> Tensor:
        """The share of each entry of the pattern, (K,), given nodes as they are and projected."""
        near = graph.get_neighbors(self.heads)
        score = self.score_edges(x, h, near.pattern)
        return row_softmax(near.pattern, score if near.log_weight is None else score + near.log_weight)

    @abstractmethod
    def score_edges(self, x: Tensor | SparseMatrix, h: Tensor, pattern: SparsePattern) -> Tensor:
        """How much each entry of the pattern counts, (K,), before the softmax over its row."""

    def weight_matrices(self) -> MatricesByName:
        """Projections lie (in, out); the vectors of the heads, (H, C), are maps from C numbers to H."""
        own = {name: value.data for name, value in self.named_parameters(recurse=False)}
        across = ("weight", "target_weight")
        return {name: [value.t() if name in across else value] for name, value in own.items() if value.dim() == 2}


class GATConv(_BaseGATConv):
    """x (N, F), graph -> (N, H C), or (N, C) without concat

    Velickovic et al. 2018: with ``h = W x``, node i weighs its neighbours j by
    ``softmax_j LeakyReLU(a_target . h_i + a_source . h_j)`` and sums their ``h_j``. Every head has a W and an a of its
    own. All nodes rank their neighbours alike: the term of i moves every score of its row.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        heads: int = 1,
        concat: bool = True,
        dropout: float = 0.0,
        negative_slope: float = 0.2,
    ):
        super().__init__(in_features, out_features, heads, concat, dropout, negative_slope)
        self.source = _make_weight(heads, out_features)
        self.target = _make_weight(heads, out_features)

    def score_edges(self, x: Tensor | SparseMatrix, h: Tensor, pattern: SparsePattern) -> Tensor:
        of_source = (h * self.source).sum(-1).flatten().index_select(0, pattern.cols)
        of_target = (h * self.target).sum(-1).flatten().index_select(0, pattern.rows)
        return F.leaky_relu(of_source + of_target, self.negative_slope)


class GATv2Conv(_BaseGATConv):
    """x (N, F), graph -> (N, H C), or (N, C) without concat

    Brody et al. 2022, eq. 7: ``softmax_j a . LeakyReLU(W_target x_i + W x_j)``, so that which neighbour counts most
    depends on who asks. It takes C numbers for every edge and head where ``GATConv`` takes one.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        heads: int = 1,
        concat: bool = True,
        dropout: float = 0.0,
        negative_slope: float = 0.2,
    ):
        super().__init__(in_features, out_features, heads, concat, dropout, negative_slope)
        self.target_weight = _make_weight(in_features, heads * out_features)
        self.score = _make_weight(heads, out_features)

    def score_edges(self, x: Tensor | SparseMatrix, h: Tensor, pattern: SparsePattern) -> Tensor:
        of_source = h.flatten(0, 1).index_select(0, pattern.cols)
        of_target = self.project_heads(x, self.target_weight).flatten(0, 1).index_select(0, pattern.rows)
        both = F.leaky_relu(of_source + of_target, self.negative_slope)
        return (both * self.score.index_select(0, pattern.rows % self.heads)).sum(-1)


ATTENTION_CONVS: dict[Literal["v1", "v2"], type[_BaseGATConv]] = {"v1": GATConv, "v2": GATv2Conv}
"""Both ways of scoring neighbours, by the version of the network they are of."""
