"""Networks that say something of the nodes of a graph whose edges are of several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.graph.message_passing import MessagePassingStack
from trainer.models.layers.graph.relational_graph_conv import RelationalGraph, RGCNConv


class RGCN(nn.Module):
    """Schlichtkrull et al. 2018. ``h = relu(conv(dropout(h)))`` without relu after the last layer; a layer adds what a
    node is and what it hears by each relation, in the mean, each through a matrix of its own
    (``RGCNConv``). An edge runs from ``edge_index[0]`` to ``edge_index[1]``: give relations that should
    be heard both ways twice, under two numbers. Weights, 1 where none are given, must not be negative.
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
            RelationalGraph, len(x), edge_index, edge_type, self.num_relations, edge_weight, x.dtype
        )
        return self.body.forward_graph(x, graph)
