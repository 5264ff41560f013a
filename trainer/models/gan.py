"""Generative adversarial networks: a generator of points and a critic that tells them from real ones."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from trainer.models.layers.dense import dense
from trainer.types import PositiveInt

SQUASH: dict[str, type[nn.Module]] = {"none": nn.Identity, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class GAN(nn.Module):
    """x (B, ...) -> (B)

    Goodfellow et al. 2014; Arjovsky et al. 2017. ``x = generator(z), z ~ N(0, I)``; ``critic(x)`` is one unbounded
    number, with no sigmoid behind it. ``forward`` is the critic's judgement. No batch norm, whose rows would see one
    another: a penalty on the gradient at each point needs them apart.
    """

    def __init__(
        self,
        flat_features: PositiveInt,
        latent: PositiveInt,
        generator_hidden: list[PositiveInt],
        critic_hidden: list[PositiveInt],
        squash: Literal["none", "tanh", "sigmoid"],
    ):
        super().__init__()
        self.latent = latent
        self.generator = dense((latent, *generator_hidden, flat_features), nn.ReLU)
        self.generator.append(SQUASH[squash]())
        self.critic = dense((flat_features, *critic_hidden, 1), partial(nn.LeakyReLU, 0.2))

    def generate(self, count: int) -> Tensor:
        """Fresh points (count, flat_features), from torch's generator."""
        weight = next(self.generator.parameters())
        return self.generator(torch.randn(count, self.latent, device=weight.device))

    def forward(self, x: Tensor) -> Tensor:
        return self.critic(x.flatten(1)).squeeze(1)
