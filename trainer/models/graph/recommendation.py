"""What a user makes of an item, from who clicked on what and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.link_decoders import DotDecoder, gather_endpoints
from trainer.models.layers.graph.tensor_cache import TensorCache

INIT_STD = 0.1
"""Of an embedding at the start: products of two are near nothing, so that every pair begins with even odds."""


def _make_embeddings(nodes: int, width: int) -> nn.Parameter:
    return nn.Parameter(INIT_STD * torch.randn(nodes, width))


class MatrixFactorization(nn.Module):
    """Koren et al. 2009: ``b + b_u + b_i + p_u . q_i`` for user u and item i, here the log-odds of a click, C = 1.
    Users and items are nodes numbered in one row, so one table holds the embeddings of both, and any graph's nodes have
    them.
    """

    shapes = "pairs (P, 2) -> (P, C)"

    def __init__(self, num_nodes: PositiveInt, width: PositiveInt = 4):
        super().__init__()
        self.embeddings = _make_embeddings(num_nodes, width)
        self.biases = nn.Parameter(torch.zeros(num_nodes, 1))
        self.dot = DotDecoder()

    def forward(self, pairs: Tensor) -> Tensor:
        first, second = gather_endpoints(self.biases, pairs)
        return self.dot(self.embeddings, pairs) + first + second


class BipartiteGNN(nn.Module):
    """LightGCN, He et al. 2020: embeddings E spread along the graph without weights or activations, and a node is their
    mean over the layers: ``z = mean_k (D^-1/2 A D^-1/2)^k E``, k = 0 .. ``layers``; the log-odds are ``z_u . z_i + b``,
    C = 1. Theirs ranks items by a loss over triples and needs no b.
    """

    shapes = "pairs (P, 2), edge_index (2, E) -> (P, C)"

    def __init__(self, num_nodes: PositiveInt, width: PositiveInt = 16, layers: NonNegativeInt = 2):
        super().__init__()
        self.embeddings = _make_embeddings(num_nodes, width)
        self.layers = layers
        self.dot = DotDecoder()
        self.cache = TensorCache()

    def embed_nodes(self, edge_index: Tensor) -> Tensor:
        """What each node is after all layers, (N, W)."""
        graph = self.cache(Graph, len(self.embeddings), edge_index)
        adjacency = graph.get_adjacency("symmetric", loops=False)
        reached: Tensor = self.embeddings
        total = reached
        for _ in range(self.layers):
            reached = adjacency @ reached
            total = total + reached
        return total / (self.layers + 1)

    def forward(self, pairs: Tensor, edge_index: Tensor) -> Tensor:
        return self.dot(self.embed_nodes(edge_index), pairs)
