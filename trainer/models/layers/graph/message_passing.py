"""Stack of message passing layers shared by node, graph and link models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.graph_conv import GCNConv, GINConv, SAGEConv
from trainer.models.layers.graph.sparse import SparseMatrix, sparse_dropout, to_sparse_if_mostly_zero
from trainer.models.layers.graph.tensor_cache import TensorCache

ConvKind = Literal["sum", "mean", "gcn", "sage", "gin"]
CONV_LAYERS: dict[ConvKind, Callable[[int, int], nn.Module]] = {
    "sum": partial(GCNConv, norm="sum"),
    "mean": partial(GCNConv, norm="mean"),
    "gcn": partial(GCNConv, norm="symmetric"),
    "sage": SAGEConv,
    "gin": GINConv,
}


class MessagePassingStack(nn.Module):
    """Stack of graph layers, ``h = layer(dropout(activation(h)), graph)``, without activation before the first layer.

    The graph and sparse features are prepared once and cached while their source tensors live (``TensorCache``), so
    that a step costs only the products.

    Args:
        layers: graph layers, called with node features and a ``Graph``.
        dropout: dropout probability of the input of each layer.
        activation: activation between the layers.

    Shape:
        x: (N, F)
        edge_index: (2, E)
        edge_weight: (E)
        edge_attr: (E, D)
        output: (N, C)
    """

    def __init__(self, layers: Iterable[nn.Module], dropout: float, activation: Callable[[Tensor], Tensor] = F.relu):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.dropout = dropout
        self.activation = activation
        self.cache = TensorCache()

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None, edge_attr: Tensor | None = None
    ) -> Tensor:
        graph = self.cache(Graph, x.shape[0], edge_index, edge_weight, edge_attr, x.dtype)
        return self.forward_graph(self.cache(to_sparse_if_mostly_zero, x) or x, graph)

    def forward_graph(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:
        """Run the stack on a prepared graph, such as a relational graph.

        Args:
            x: node features (N, F).
            graph: graph of the kind that the layers require.
        """
        first, *rest = self.layers
        h = first(sparse_dropout(x, self.dropout, self.training), graph)
        for layer in rest:
            h = layer(sparse_dropout(self.activation(h), self.dropout, self.training), graph)
        return h
