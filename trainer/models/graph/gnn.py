"""Graph neural networks for node-level prediction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import NonNegativeFloat, PositiveInt, Probability
from trainer.models.layers.graph.graph_attention import ATTENTION_CONVS
from trainer.models.layers.graph.graph_conv import EdgeMessageConv
from trainer.models.layers.graph.message_passing import CONV_LAYERS, MessagePassingStack
from trainer.utils.choices import get_choice


class GNN(nn.Module):
    """Graph neural network with layers ``h = relu(conv(dropout(h)))``, without ReLU after the last.

    Edges run from ``edge_index[0]`` to ``edge_index[1]``. Weights must not be negative and default to 1.

    Args:
        in_features: number of input features F.
        out_features: number of outputs C.
        conv: ``sum`` or ``mean`` of a node and its neighbors, ``gcn`` (symmetric normalization), ``sage`` (separate
            matrices for the node and the mean of its neighbors) or ``gin`` (MLP of the sum).
        hidden: hidden layer sizes; the number of message passing layers is one more.
        dropout: dropout probability before every layer.

    References:
        Kipf and Welling 2017, Semi-Supervised Classification with Graph Convolutional Networks.
        Hamilton et al. 2017, Inductive Representation Learning on Large Graphs.
        Xu et al. 2019, How Powerful are Graph Neural Networks?
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
        make_conv = get_choice("conv", conv, CONV_LAYERS)
        self.body = MessagePassingStack([make_conv(*width) for width in widths], dropout)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        return self.body(x, edge_index, edge_weight)


class EdgeGNN(nn.Module):
    """Message passing network with edge features (``EdgeMessageConv``), ReLU between layers and dropout before each.

    Args:
        in_features: number of input features F.
        out_features: number of outputs C.
        edge_features: number of features per edge D.
        hidden: hidden layer sizes; the number of message passing layers is one more.
        dropout: dropout probability before every layer.

    References:
        Gilmer et al. 2017, Neural Message Passing for Quantum Chemistry
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
    """Graph attention network ``h_i = elu(sum_j a_ij W h_j)`` over the neighbors j of i and i itself.

    Heads of hidden layers are concatenated, those of the last layer averaged. An edge of weight w counts as w edges, so
    weight 0 removes the edge.

    Args:
        in_features: number of input features F.
        out_features: number of outputs C.
        version: ``v1`` has ``a_ij = softmax_j(LeakyReLU(a . [W h_i, W h_j]))``, ``v2`` has ``a_ij = softmax_j(a .
            LeakyReLU(V h_i + W h_j))``.
        hidden: size of each head of each hidden layer.
        heads: number of attention heads of the hidden layers, concatenated.
        out_heads: number of attention heads of the last layer, averaged.
        dropout: dropout probability of the layer inputs.
        attention_dropout: dropout probability of the attention coefficients.
        negative_slope: negative slope of the LeakyReLU in the attention.

    References:
        Velickovic et al. 2018, Graph Attention Networks.
        Brody et al. 2022, How Attentive are Graph Attention Networks?
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
        attention = get_choice("version", version, ATTENTION_CONVS)
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
