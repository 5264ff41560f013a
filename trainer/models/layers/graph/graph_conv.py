"""Graph convolutions: x (N, F), graph -> (N, C).

Each layer multiplies by its weights before it aggregates, so that sparse features cost only their non-zeros and
messages are as narrow as the output.
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
    """Layer with (in, out) weight matrices that multiply from the right, the transpose of torch's layout."""

    def weight_matrices(self) -> MatricesByName:
        parameters = {name: value.data for name, value in self.named_parameters(recurse=False)}
        return {name: [value.t()] for name, value in parameters.items() if value.dim() == 2}


class NodeLinear(nn.Linear):
    """Linear layer on each node that ignores the edges, a baseline for graph convolutions.

    Shape:
        x: (N, F)
        output: (N, C)
    """

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:  # type: ignore[override]
        return x @ self.weight.t() + self.bias


class GCNConv(_TransposedWeights):
    """Graph convolution ``A (X W) + b`` over the adjacency matrix A with self-loops.

    Args:
        norm: ``symmetric`` is the GCN of Kipf and Welling, ``sum`` sums over the neighbors, ``mean`` averages them.
            The bias is added after aggregation.

    Shape:
        x: (N, F)
        output: (N, C)

    References:
        Kipf and Welling 2017, Semi-Supervised Classification with Graph Convolutional Networks
    """

    def __init__(self, in_features: int, out_features: int, norm: AdjacencyNorm = "symmetric"):
        super().__init__()
        self.norm = norm
        self.weight = _make_weight(in_features, out_features)
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:
        return graph.get_adjacency(self.norm, loops=True) @ (x @ self.weight) + self.bias


class SAGEConv(_TransposedWeights):
    """GraphSAGE convolution with mean aggregator, ``x_i W + mean_j x_j W_near + b`` over the neighbors j of i.

    The mean of a node without neighbors is zero.

    Shape:
        x: (N, F)
        output: (N, C)

    References:
        Hamilton et al. 2017, Inductive Representation Learning on Large Graphs
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = _make_weight(in_features, out_features)
        self.neighbor_weight = _make_weight(in_features, out_features)
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:
        return x @ self.weight + graph.get_adjacency("mean", loops=False) @ (x @ self.neighbor_weight) + self.bias


class GINConv(_TransposedWeights):
    """Graph isomorphism layer ``MLP((1 + eps) x_i + sum_j x_j)`` over the neighbors j of i.

    ``eps`` is learned from 0; the MLP has one hidden layer with batch norm over the nodes. Its first matrix is applied
    before the sum, which is equivalent.

    Shape:
        x: (N, F)
        output: (N, C)

    References:
        Xu et al. 2019, How Powerful are Graph Neural Networks?, eq. 4.1
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
    """Message passing with edge features, ``x_i + mean_j ReLU(W [x_i, x_j, e_ji] + b)`` over the edges j -> i.

    The residual ``x_i``, projected if the widths differ, preserves the features of nodes without incoming edges.

    Shape:
        x: (N, F)
        graph.edge_attr: (E, D)
        output: (N, C)

    References:
        Gilmer et al. 2017, Neural Message Passing for Quantum Chemistry, eq. 1
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
        target_weight, source_weight, edge_weight = self.message.weight.split(
            (width, width, graph.edge_attr.shape[1]), 1
        )
        # Per node, since there are fewer nodes than edges.
        at_target, at_source = x @ target_weight.t(), x @ source_weight.t()
        edge = F.linear(graph.edge_attr.to(at_target.dtype), edge_weight, self.message.bias)
        message = F.relu(at_target.index_select(0, target) + at_source.index_select(0, source) + edge)
        total = message.new_zeros(graph.num_nodes, message.shape[1]).index_add(0, target, message)
        count = torch.bincount(target, minlength=graph.num_nodes).clamp(min=1)
        return self._project_self(x) + total / count[:, None]

    def _project_self(self, x: Tensor | SparseMatrix) -> Tensor:
        if self.weight is not None:
            return x @ self.weight
        return x if isinstance(x, Tensor) else x @ torch.eye(self.in_features).to(x.values)


class _BaseGATConv(HasWeightMatrices):
    """Multi-head attention over the neighbors of a node and the node itself.

    Heads are concatenated or averaged. An edge of weight w counts as w edges: log w is added to its score, so weight 0
    removes the edge. A node without any edge, not even a self-loop, outputs the bias.
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
        attention = sparse_dropout(self.compute_attention(x, h, graph), self.dropout, self.training)
        out = sparse_matmul(graph.get_neighbors(self.heads).pattern, attention, h.flatten(0, 1)).view_as(h)
        return (out.flatten(1) if self.concat else out.mean(1)) + self.bias

    def project_heads(self, x: Tensor | SparseMatrix, weight: Tensor) -> Tensor:
        """Project the nodes for each head, (N, H, C)."""
        return (x @ weight).view(-1, self.heads, weight.shape[1] // self.heads)

    def compute_attention(self, x: Tensor | SparseMatrix, h: Tensor, graph: Graph) -> Tensor:
        """Compute the attention coefficient of each pattern entry, (K,).

        Args:
            x: node features.
            h: projected node features (N, H, C).
        """
        neighbors = graph.get_neighbors(self.heads)
        score = self.score_edges(x, h, neighbors.pattern)
        return row_softmax(neighbors.pattern, score if neighbors.log_weight is None else score + neighbors.log_weight)

    @abstractmethod
    def score_edges(self, x: Tensor | SparseMatrix, h: Tensor, pattern: SparsePattern) -> Tensor:
        """Compute the unnormalized attention score of each pattern entry, (K,)."""

    def weight_matrices(self) -> MatricesByName:
        """Return projections transposed to (out, in) and the per-head vectors (H, C) as maps from C to H."""
        transposed = ("weight", "target_weight")
        matrices = {name: p.data for name, p in self.named_parameters(recurse=False) if p.dim() == 2}
        return {name: [value.t() if name in transposed else value] for name, value in matrices.items()}


class GATConv(_BaseGATConv):
    """Graph attention layer with scores ``softmax_j LeakyReLU(a_target . h_i + a_source . h_j)``, where ``h = W x``.

    Each head has its own W and a. The attention is static: the term of i shifts all scores of its row, so that all
    nodes rank their neighbors alike.

    Shape:
        x: (N, F)
        output: (N, H C), or (N, C) without concat

    References:
        Velickovic et al. 2018, Graph Attention Networks
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
        self.att_src = _make_weight(heads, out_features)
        self.att_dst = _make_weight(heads, out_features)

    def score_edges(self, x: Tensor | SparseMatrix, h: Tensor, pattern: SparsePattern) -> Tensor:
        source_score = (h * self.att_src).sum(-1).flatten().index_select(0, pattern.cols)
        target_score = (h * self.att_dst).sum(-1).flatten().index_select(0, pattern.rows)
        return F.leaky_relu(source_score + target_score, self.negative_slope)


class GATv2Conv(_BaseGATConv):
    """Graph attention layer with dynamic attention ``softmax_j a . LeakyReLU(W_target x_i + W x_j)``.

    The ranking of neighbors depends on the target node. Memory is C numbers per edge and head, where ``GATConv`` needs
    one.

    Shape:
        x: (N, F)
        output: (N, H C), or (N, C) without concat

    References:
        Brody et al. 2022, How Attentive are Graph Attention Networks?, eq. 7
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
        self.att = _make_weight(heads, out_features)

    def score_edges(self, x: Tensor | SparseMatrix, h: Tensor, pattern: SparsePattern) -> Tensor:
        source_score = h.flatten(0, 1).index_select(0, pattern.cols)
        target_score = self.project_heads(x, self.target_weight).flatten(0, 1).index_select(0, pattern.rows)
        hidden = F.leaky_relu(source_score + target_score, self.negative_slope)
        return (hidden * self.att.index_select(0, pattern.rows % self.heads)).sum(-1)


ATTENTION_CONVS: dict[Literal["v1", "v2"], type[_BaseGATConv]] = {"v1": GATConv, "v2": GATv2Conv}
"""Graph attention layers by version."""
