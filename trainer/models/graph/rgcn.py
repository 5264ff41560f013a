"""Relational graph convolutional network (R-GCN) for node-level prediction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.graph.message_passing import MessagePassingStack
from trainer.models.layers.graph.relational_graph_conv import RelationalGraph, RGCNConv


class RGCN(nn.Module):
    """R-GCN with layers ``h = relu(conv(dropout(h)))`` of ``RGCNConv``, without ReLU after the last.

    Edges run from ``edge_index[0]`` to ``edge_index[1]``; add inverse edges under separate relation ids if messages
    should flow both ways. Weights must not be negative and default to 1.

    Args:
        in_features: number of input features F.
        out_features: number of outputs C.
        num_relations: number of relations R.
        hidden: hidden layer sizes; the number of message passing layers is one more.
        bases: number of basis matrices; None gives each relation its own matrix.
        dropout: dropout probability before every layer.
        edge_dropout: dropout probability of edges.

    References:
        Schlichtkrull et al. 2018, Modeling Relational Data with Graph Convolutional Networks
    """

    shapes = "x (N, F), edge_index (2, E), edge_type (E), edge_weight (E) -> (N, C)"

    def __init__(
        self,
        in_features: PositiveInt,
        out_features: PositiveInt,
        num_relations: PositiveInt,
        hidden: Sequence[PositiveInt] = (16,),
        bases: PositiveInt | None = None,
        dropout: Probability = 0.0,
        edge_dropout: Probability = 0.0,
    ):
        super().__init__()
        self.num_relations = num_relations
        widths = pairwise((in_features, *hidden, out_features))
        layers = [RGCNConv(*width, num_relations, bases, edge_dropout) for width in widths]
        self.body = MessagePassingStack(layers, dropout)

    def forward(self, x: Tensor, edge_index: Tensor, edge_type: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        graph = self.body.cache(
            RelationalGraph, x.shape[0], edge_index, edge_type, self.num_relations, edge_weight, x.dtype
        )
        return self.body.forward_graph(x, graph)
