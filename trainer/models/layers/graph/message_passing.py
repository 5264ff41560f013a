"""Layers along the edges of a graph, one after another: what models of nodes, graphs and links share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.graph_conv import GinConvolution, GraphConvolution, SageConvolution
from trainer.models.layers.graph.sparse import Sparse, dropout, sparse_if_mostly_zero
from trainer.models.layers.graph.tensor_cache import Memo

Kind = Literal["sum", "mean", "gcn", "sage", "gin"]
LAYERS: dict[Kind, Callable[[int, int], nn.Module]] = {
    "sum": partial(GraphConvolution, norm="sum"),
    "mean": partial(GraphConvolution, norm="mean"),
    "gcn": partial(GraphConvolution, norm="symmetric"),
    "sage": SageConvolution,
    "gin": GinConvolution,
}


class MessagePassing(nn.Module):
    """x (N, F), edge_index (2, E), edge_weight (E), edge_attr (E, D) -> (N, C)

    ``h = layer(dropout(activation(h)), graph)``, without activation before the first layer. The graph and sparse
    features are prepared once and kept while the tensors they came from live (``Memo``), so that a step costs the
    products alone.
    """

    def __init__(self, layers: Iterable[nn.Module], dropout: float, activation: Callable[[Tensor], Tensor] = F.relu):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.dropout = dropout
        self.activation = activation
        self.memo = Memo()

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None, edge_attr: Tensor | None = None
    ) -> Tensor:
        graph = self.memo(Graph, x.shape[0], edge_index, edge_weight, edge_attr, x.dtype)
        return self.along(self.memo(sparse_if_mostly_zero, x) or x, graph)

    def along(self, x: Tensor | Sparse, graph: Graph) -> Tensor:
        """The same for a graph that is already prepared, such as one whose edges are of several kinds."""
        first, *rest = self.layers
        h = first(dropout(x, self.dropout, self.training), graph)
        for layer in rest:
            h = layer(dropout(self.activation(h), self.dropout, self.training), graph)
        return h
