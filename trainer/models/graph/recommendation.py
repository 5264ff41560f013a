"""Collaborative filtering from implicit feedback."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.link_decoders import DotDecoder, gather_endpoints
from trainer.models.layers.graph.tensor_cache import TensorCache

INIT_STD = 0.1
"""Standard deviation of initial embeddings; inner products are then near 0, so that all links start at even odds."""


def _make_embeddings(nodes: int, width: int) -> nn.Parameter:
    return nn.Parameter(INIT_STD * torch.randn(nodes, width))


class MatrixFactorization(nn.Module):
    """Matrix factorization with logit ``b + b_u + b_i + p_u . q_i`` of a click by user u on item i (C = 1).

    Users and items share one index range, so a single table holds all embeddings, and the nodes of any graph can be
    used.

    Args:
        num_nodes: number of nodes N.
        width: embedding size.

    References:
        Koren et al. 2009, Matrix Factorization Techniques for Recommender Systems
    """

    shapes = "pairs (P, 2) -> (P, C)"

    def __init__(self, num_nodes: PositiveInt, width: PositiveInt = 4):
        super().__init__()
        self.embeddings = _make_embeddings(num_nodes, width)
        self.biases = nn.Parameter(torch.zeros(num_nodes, 1))
        self.decoder = DotDecoder()

    def forward(self, pairs: Tensor) -> Tensor:
        first, second = gather_endpoints(self.biases, pairs)
        return self.decoder(self.embeddings, pairs) + first + second


class BipartiteGNN(nn.Module):
    """LightGCN: embeddings propagated along the graph without weights or activations.

    ``z = mean_k (D^-1/2 A D^-1/2)^k E`` for k = 0..``layers``, and logit ``z_u . z_i + b`` (C = 1). The paper trains
    with a pairwise ranking loss and needs no b.

    Args:
        num_nodes: number of nodes N.
        width: embedding size W.
        layers: number of message passing layers.

    References:
        He et al. 2020, LightGCN
    """

    shapes = "pairs (P, 2), edge_index (2, E) -> (P, C)"

    def __init__(self, num_nodes: PositiveInt, width: PositiveInt = 16, layers: NonNegativeInt = 2):
        super().__init__()
        self.embeddings = _make_embeddings(num_nodes, width)
        self.layers = layers
        self.decoder = DotDecoder()
        self.cache = TensorCache()

    def embed_nodes(self, edge_index: Tensor) -> Tensor:
        """Return the propagated node embeddings, (N, W)."""
        graph = self.cache(Graph, len(self.embeddings), edge_index)
        adjacency = graph.get_adjacency("symmetric", loops=False)
        propagated: Tensor = self.embeddings
        total = propagated
        for _ in range(self.layers):
            propagated = adjacency @ propagated
            total = total + propagated
        return total / (self.layers + 1)

    def forward(self, pairs: Tensor, edge_index: Tensor) -> Tensor:
        return self.decoder(self.embed_nodes(edge_index), pairs)
