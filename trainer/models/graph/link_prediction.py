"""Link prediction models and the variational graph autoencoder."""

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
from trainer.utils.choices import get_choice

ENCODERS = {"linear": NodeLinear, "gcn": CONV_LAYERS["gcn"], "sage": CONV_LAYERS["sage"], "gin": CONV_LAYERS["gin"]}


class _LinkAutoencoder(nn.Module, ABC):
    """Base class of graph autoencoders: node embeddings, and a decoder that outputs the logit of a link per pair."""

    decoder: nn.Module

    @abstractmethod
    def encode(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Return node embeddings (N, W) and their KL terms in nats, (N,).

        Args:
            x: node features (N, F).
            edge_index: edges of the message passing (2, E).
        """

    def decode(self, nodes: Tensor, pairs: Tensor) -> Tensor:
        """Return link logits (P, 1) of pairs (P, 2) of nodes (N, W).

        Args:
            nodes: node embeddings (N, W).
            pairs: pairs of nodes (P, 2).
        """
        return self.decoder(nodes, pairs)

    def forward(self, x: Tensor, edge_index: Tensor, pairs: Tensor) -> Tensor:
        return self.decode(self.encode(x, edge_index)[0], pairs)


class LinkPredictor(_LinkAutoencoder):
    """Link predictor: a graph encoder and a symmetric decoder that outputs the logit of a link (C = 1).

    Args:
        in_features: number of input features F.
        encoder: node encoder to vectors z of ``width``; ``linear`` uses node features only.
        hidden: hidden layer sizes; [] is a single layer.
        width: node embedding size.
        decoder: ``dot`` is ``z_i . z_j + b``, ``mlp`` is ``MLP(norm(z_i) * norm(z_j))``, ``linear`` is ``W [z_i, z_j] +
            b``, which captures additive effects such as node degrees but no similarity.
        dropout: dropout probability before every layer.
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
        make_layer = get_choice("encoder", encoder, ENCODERS)
        self.encoder = MessagePassingStack([make_layer(*sizes) for sizes in widths], dropout)
        self.decoder = get_choice("decoder", decoder, DECODERS)(width)

    def encode(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Embed the nodes.

        Args:
            x: node features (N, F).
            edge_index: edges (2, E).

        Returns:
            Embeddings (N, W), and KL terms (N), which are zero in this deterministic model.
        """
        nodes = self.encoder(x, edge_index)
        return nodes, nodes.new_zeros(nodes.shape[0])


class GraphVAE(_LinkAutoencoder):
    """Variational graph autoencoder with inner product decoder, which outputs the logit of a link (C = 1).

    ``q(z_i | x, A) = N(mean_i, diag exp(log_variance_i))``, both from the last encoder layer, ``p(z_i) = N(0, I)``, and
    logit ``z_i . z_j + b`` (without b in the paper). z is sampled in training and the mean otherwise.

    Args:
        in_features: number of input features F.
        encoder: ``gcn``, ``sage`` or ``gin``, or ``linear`` (no message passing).
        hidden: hidden layer sizes; the number of message passing layers is one more.
        latent: latent size per node.
        dropout: dropout probability before every layer.

    References:
        Kipf and Welling 2016, Variational Graph Auto-Encoders
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
        make_layer = get_choice("encoder", encoder, ENCODERS)
        self.encoder = MessagePassingStack([make_layer(*sizes) for sizes in widths], dropout)
        self.decoder = DotDecoder()

    def encode(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Embed the nodes.

        Args:
            x: node features (N, F).
            edge_index: edges (2, E).

        Returns:
            Embeddings (N, latent), and KL terms ``KL(q(z_i) || p(z_i))`` (N) in nats.
        """
        mean, log_variance = self.encoder(x, edge_index).chunk(2, dim=1)
        kl = standard_normal_kl(mean, log_variance)
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        return mean + torch.exp(log_variance / 2) * noise, kl
