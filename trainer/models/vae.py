"""Variational autoencoders: a posterior over a small code, and a likelihood given the code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.models.layers.dense import dense
from trainer.types import PositiveInt


class VAE(nn.Module):
    """x (B, ...) -> (B, ...)

    Kingma and Welling 2014; Rezende et al. 2014. ``q(z|x) = N(mean(x), diag exp(log_variance(x)))``,
    ``p(z) = N(0, I)``. Encoder and decoder are perceptrons of mirrored widths with a ReLU between every two layers.
    ``decode`` gives one number for each of x's, laid flat: a mean or a logit, as the likelihood wants. ``forward``
    rebuilds x from the posterior's mean.
    """

    def __init__(self, flat_features: PositiveInt, hidden: list[PositiveInt], latent: PositiveInt):
        super().__init__()
        self.latent = latent
        self.encoder = dense((flat_features, *hidden, 2 * latent), nn.ReLU)
        self.decoder = dense((latent, *reversed(hidden), flat_features), nn.ReLU)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, (B, latent) each, of x (B, ...)."""
        mean, log_variance = self.encoder(x.flatten(1)).chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, z: Tensor) -> Tensor:
        """z (B, latent) -> (B, flat_features)"""
        return self.decoder(z)

    def forward(self, x: Tensor) -> Tensor:
        mean, _ = self.encode(x)
        return torch.reshape(self.decode(mean), x.shape)
