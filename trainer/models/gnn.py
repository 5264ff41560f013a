"""Networks that classify the nodes of a graph from their own features and those of their neighbours.

The graph and sparse features are prepared once and kept while the tensors they came from live (``Memo``), so that a
step costs the products alone.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.layers.graph import GraphAttention, GraphConvolution, Neighbours, normalised_adjacency
from trainer.models.layers.memo import Memo
from trainer.models.layers.sparse import dropout, sparse_if_mostly_zero
from trainer.types import NonNegativeFloat, PositiveInt, Probability


class GCN(nn.Module):
    """x (N, F), edge_index (2, E), edge_weight (E) -> (N, C)

    Kipf and Welling 2017. ``h = A dropout(relu(h)) W + b`` with ``A = D^-1/2 (A + I) D^-1/2``, without relu before the
    first layer. An edge runs from ``edge_index[0]`` to ``edge_index[1]``; self-loops are added; weights, 1 where none
    are given, must not be negative. One layer is a linear model of averaged neighbours.
    """

    def __init__(
        self,
        in_features: PositiveInt,
        out_features: PositiveInt,
        hidden: list[PositiveInt],
        dropout: Probability,
    ):
        super().__init__()
        self.dropout = dropout
        widths = pairwise((in_features, *hidden, out_features))
        self.layers = nn.ModuleList(GraphConvolution(*width) for width in widths)
        self.memo = Memo()

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        adjacency = self.memo(normalised_adjacency, edge_index, edge_weight, x.shape[0], x.dtype)
        h = self.memo(sparse_if_mostly_zero, x)
        first, *rest = self.layers
        h = first(dropout(h, self.dropout, self.training), adjacency)
        for layer in rest:
            h = layer(dropout(F.relu(h), self.dropout, self.training), adjacency)
        return h


class GAT(nn.Module):
    """x (N, F), edge_index (2, E), edge_weight (E) -> (N, C)

    Velickovic et al. 2018. ``h_i = elu(sum_j softmax_j(LeakyReLU(a . [W h_i, W h_j])) W h_j)`` over the neighbours j of
    i and i itself; the heads of a hidden layer are laid side by side, those of the last layer averaged. Inputs of
    layers and attention are dropped out. An edge of weight w counts as w edges, so weight 0 is no edge.
    """

    def __init__(
        self,
        in_features: PositiveInt,
        out_features: PositiveInt,
        hidden: list[PositiveInt],
        heads: PositiveInt,
        out_heads: PositiveInt,
        dropout: Probability,
        attention_dropout: Probability,
        negative_slope: NonNegativeFloat,
    ):
        super().__init__()
        self.dropout = dropout
        widths = pairwise((in_features, *(width * heads for width in hidden)))
        self.layers = nn.ModuleList(
            GraphAttention(width_in, width_out // heads, heads, True, attention_dropout, negative_slope)
            for width_in, width_out in widths
        )
        width = hidden[-1] * heads if hidden else in_features
        self.layers.append(GraphAttention(width, out_features, out_heads, False, attention_dropout, negative_slope))
        self.memo = Memo()

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        graph = edge_index, edge_weight, x.shape[0]
        h = self.memo(sparse_if_mostly_zero, x)
        first, *rest = self.layers
        h = first(dropout(h, self.dropout, self.training), self.memo(Neighbours.of, *graph, first.heads))
        for layer in rest:
            h = layer(dropout(F.elu(h), self.dropout, self.training), self.memo(Neighbours.of, *graph, layer.heads))
        return h
