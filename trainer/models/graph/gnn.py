"""Networks that say something of the nodes of a graph, from their own features and those of their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import NonNegativeFloat, PositiveInt, Probability
from trainer.models.layers.graph.graph_conv import ATTENTION_CONVS, EdgeMessageConv
from trainer.models.layers.graph.message_passing import CONV_LAYERS, MessagePassingStack


class GNN(nn.Module):
    """``h = relu(conv(dropout(h)))``, without relu after the last layer. ``conv`` is what a node makes of itself and
    its neighbours: their ``sum`` or ``mean`` through one matrix, their mean weighed by degrees (``gcn``, Kipf and
    Welling 2017), itself and their mean through a matrix each (``sage``, Hamilton et al. 2017), or their sum through an
    MLP (``gin``, Xu et al. 2019). An edge runs from ``edge_index[0]`` to ``edge_index[1]``; weights, 1 where none are
    given, must not be negative.
    """

    shapes = "x (N, F), edge_index (2, E), edge_weight (E) -> (N, C)"

    def __init__(
        self,
        in_features: PositiveInt,
        out_features: PositiveInt,
        conv: Literal["sum", "mean", "gcn", "sage", "gin"] = "sum",
        hidden: Sequence[PositiveInt] = (16,),
        dropout: Probability = 0.5,
    ):
        super().__init__()
        widths = pairwise((in_features, *hidden, out_features))
        self.body = MessagePassingStack([CONV_LAYERS[conv](*width) for width in widths], dropout)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        return self.body(x, edge_index, edge_weight)


class EdgeGNN(nn.Module):
    """Messages made of both nodes and of the edge between them (``EdgeMessageConv``; Gilmer et al. 2017), relu between
    layers, dropout before each.
    """

    shapes = "x (N, F), edge_index (2, E), edge_attr (E, D) -> (N, C)"

    def __init__(
        self,
        in_features: PositiveInt,
        out_features: PositiveInt,
        edge_features: PositiveInt,
        hidden: Sequence[PositiveInt] = (16,),
        dropout: Probability = 0.0,
    ):
        super().__init__()
        widths = pairwise((in_features, *hidden, out_features))
        self.body = MessagePassingStack([EdgeMessageConv(*width, edge_features) for width in widths], dropout)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        return self.body(x, edge_index, None, edge_attr)


class GAT(nn.Module):
    """``h_i = elu(sum_j share_ij W h_j)`` over the neighbours j of i and i itself, with shares
    ``softmax_j(LeakyReLU(a . [W h_i, W h_j]))`` (``v1``, Velickovic et al. 2018) or
    ``softmax_j(a . LeakyReLU(V h_i + W h_j))`` (``v2``, Brody et al. 2022). The heads of a hidden layer are laid side
    by side, those of the last layer averaged. Inputs of layers and attention are dropped out. An edge of weight w
    counts as w edges, so weight 0 is no edge.
    """

    shapes = "x (N, F), edge_index (2, E), edge_weight (E) -> (N, C)"

    def __init__(
        self,
        in_features: PositiveInt,
        out_features: PositiveInt,
        version: Literal["v1", "v2"] = "v1",
        hidden: Sequence[PositiveInt] = (8,),
        heads: PositiveInt = 8,
        out_heads: PositiveInt = 1,
        dropout: Probability = 0.6,
        attention_dropout: Probability = 0.6,
        negative_slope: NonNegativeFloat = 0.2,
    ):
        super().__init__()
        attention = ATTENTION_CONVS[version]
        widths = pairwise((in_features, *(width * heads for width in hidden)))
        layers = [
            attention(width_in, width_out // heads, heads, True, attention_dropout, negative_slope)
            for width_in, width_out in widths
        ]
        width = hidden[-1] * heads if hidden else in_features
        layers.append(attention(width, out_features, out_heads, False, attention_dropout, negative_slope))
        self.body = MessagePassingStack(layers, dropout, F.elu)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        return self.body(x, edge_index, edge_weight)
