"""Networks that tell which nodes of a graph are linked, and graphs that are drawn from what they say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from trainer.core.divergences import standard_normal_kl
from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.graph.graph_conv import NodeLinear
from trainer.models.layers.graph.link_decoders import DECODERS, DotDecoder
from trainer.models.layers.graph.message_passing import CONV_LAYERS, MessagePassingStack

ENCODERS = {"linear": NodeLinear, "gcn": CONV_LAYERS["gcn"], "sage": CONV_LAYERS["sage"], "gin": CONV_LAYERS["gin"]}


class _LinkAutoencoder(nn.Module, ABC):
    """Vectors of nodes, and the log-odds of a link between each of pairs of them."""

    decoder: nn.Module

    @abstractmethod
    def encode(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes (N, W), and the nats each of them costs (N,)."""

    def decode(self, nodes: Tensor, pairs: Tensor) -> Tensor:
        """nodes (N, W), pairs (P, 2) -> (P, 1)"""
        return self.decoder(nodes, pairs)

    def forward(self, x: Tensor, edge_index: Tensor, pairs: Tensor) -> Tensor:
        return self.decode(self.encode(x, edge_index)[0], pairs)


class LinkPredictor(_LinkAutoencoder):
    """The log-odds of a link, C = 1. The ``encoder`` makes every node a vector z of ``width`` numbers, from its
    features and the graph (``linear``: from its features alone), and the ``decoder`` compares two of them. ``dot``:
    ``z_i . z_j + b``. ``mlp``: ``MLP(norm(z_i) * norm(z_j))``. ``linear``: ``W [z_i, z_j] + b``, which adds up what
    nodes bring along, such as their degrees, and cannot say that two are alike. Either order of a pair scores the same.
    """

    shapes = "x (N, F), edge_index (2, E), pairs (P, 2) -> (P, C)"

    def __init__(
        self,
        in_features: PositiveInt,
        encoder: Literal["linear", "gcn", "sage", "gin"] = "gcn",
        hidden: Sequence[PositiveInt] = (32, 32, 32),
        width: PositiveInt = 16,
        decoder: Literal["dot", "linear", "mlp"] = "dot",
        dropout: Probability = 0.2,
    ):
        super().__init__()
        widths = pairwise((in_features, *hidden, width))
        self.encoder = MessagePassingStack([ENCODERS[encoder](*ends) for ends in widths], dropout)
        self.decoder = DECODERS[decoder](width)

    def encode(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes (N, W), and the nats each of them costs (N,): none, where nothing is drawn."""
        nodes = self.encoder(x, edge_index)
        return nodes, nodes.new_zeros(len(nodes))


class GraphVAE(_LinkAutoencoder):
    """Kipf and Welling 2016, the variational graph autoencoder: ``q(z_i | x, A) = N(mean_i, diag
    exp(log_variance_i))``, both from the last of the encoder's layers, ``p(z_i) = N(0, I)``, and the log-odds of a link
    ``z_i . z_j + b``, C = 1 (theirs without b). Training sees a draw of z, everything else its mean.
    """

    shapes = "x (N, F), edge_index (2, E), pairs (P, 2) -> (P, C)"

    def __init__(
        self,
        in_features: PositiveInt,
        encoder: Literal["linear", "gcn", "sage", "gin"] = "gcn",
        hidden: Sequence[PositiveInt] = (32, 32, 32),
        latent: PositiveInt = 4,
        dropout: Probability = 0.2,
    ):
        super().__init__()
        widths = pairwise((in_features, *hidden, 2 * latent))
        self.encoder = MessagePassingStack([ENCODERS[encoder](*ends) for ends in widths], dropout)
        self.decoder = DotDecoder()

    def encode(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes (N, latent), and ``KL(q(z_i) || p(z_i))`` of each in nats, (N,)."""
        mean, log_variance = self.encoder(x, edge_index).chunk(2, dim=1)
        kl = standard_normal_kl(mean, log_variance)
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        return mean + torch.exp(log_variance / 2) * noise, kl
