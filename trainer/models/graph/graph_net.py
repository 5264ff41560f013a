"""Graph neural networks for graph-level prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import NonNegativeInt, PositiveInt, Probability
from trainer.models.layers.categorical_embedding import CategoricalEmbedding
from trainer.models.layers.graph.graph_attention import GATConv
from trainer.models.layers.graph.graph_conv import EdgeMessageConv, NodeLinear
from trainer.models.layers.graph.graph_readout import GraphPool
from trainer.models.layers.graph.message_passing import CONV_LAYERS, MessagePassingStack
from trainer.models.layers.mlp import make_mlp
from trainer.utils.choices import get_choice


class GraphNet(nn.Module):
    """Graph-level network ``y = head(pool(dropout(relu(conv(... x)))))``.

    A batch is the disjoint union of its graphs with ``sizes`` nodes each.

    Args:
        in_features: number of node features F.
        cardinalities: codes per categorical node feature, embedded and summed; None uses the features as numbers.
        edge_features: number of features per edge D, 0 for none; used by ``edge`` convolutions only.
        out_features: number of outputs C.
        conv: a convolution of ``GNN``, ``gat`` (``GATConv``), ``edge`` (``EdgeMessageConv``), or ``none``, which
            ignores the edges (deep sets) and serves as a baseline.
        hidden: size of each message passing layer.
        heads: attention heads of ``gat``; must divide the hidden sizes.
        pool: graph pooling: mean, sum, max or attention.
        head: hidden layer sizes of the head.
        dropout: dropout probability before every layer and before the head (usually 0.5).

    Raises:
        ValueError: no layer, a width that ``heads`` does not divide, or codes outside the cardinalities.

    References:
        Gilmer et al. 2017, Neural Message Passing for Quantum Chemistry.
        Zaheer et al. 2017, Deep Sets.
        Xu et al. 2019, How Powerful are Graph Neural Networks?
    """

    shapes = "x (N, F), edge_index (2, E), sizes (G), edge_attr (E, D) -> (G, C)"

    def __init__(
        self,
        in_features: PositiveInt,
        cardinalities: list[PositiveInt] | None,
        edge_features: NonNegativeInt,
        out_features: PositiveInt,
        conv: Literal["none", "sum", "mean", "gcn", "sage", "gin", "gat", "edge"] = "gin",
        hidden: Sequence[PositiveInt] = (64, 64, 64),
        heads: PositiveInt = 4,
        pool: Literal["mean", "sum", "max", "attention"] = "sum",
        head: Sequence[PositiveInt] = (64,),
        dropout: Probability = 0.0,
    ):
        super().__init__()
        if not hidden:
            raise ValueError("hidden: a graph network needs at least one layer, such as [64]")
        self.node_embedding = None if cardinalities is None else CategoricalEmbedding(cardinalities, hidden[0])
        factories: dict[str, Callable[[int, int], nn.Module]] = {
            "none": NodeLinear,
            "gat": partial(_make_attention, heads=heads),
            "edge": partial(EdgeMessageConv, edge_features=edge_features),
        }
        factories.update(CONV_LAYERS.items())
        widths = pairwise((in_features if cardinalities is None else hidden[0], *hidden))
        make_conv = get_choice("conv", conv, factories)
        self.body = MessagePassingStack([make_conv(*width) for width in widths], dropout)
        self.pool = GraphPool(pool, hidden[-1])
        self.dropout = nn.Dropout(dropout)
        self.head = make_mlp((hidden[-1], *head, out_features), nn.ReLU)

    def forward(self, x: Tensor, edge_index: Tensor, sizes: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        if self.node_embedding is not None:
            x = self.node_embedding(x)
        elif not x.is_floating_point():
            x = x.float()
        if edge_attr is None:
            edge_attr = x.new_zeros(edge_index.shape[1], 0)
        h = F.relu(self.body(x, edge_index, None, edge_attr))
        return self.head(self.dropout(self.pool(h, sizes)))


def _make_attention(in_features: int, out_features: int, heads: int) -> nn.Module:
    if out_features % heads:
        raise ValueError(f"heads: {heads} heads do not divide a layer {out_features} wide (hidden)")
    return GATConv(in_features, out_features // heads, heads, concat=True, dropout=0.0, negative_slope=0.2)
