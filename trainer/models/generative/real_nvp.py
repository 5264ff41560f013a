"""Normalizing flow with exact likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt
from trainer.models.layers.mlp import make_mlp


class RealNVP(nn.Module):
    """RealNVP normalizing flow ``log p(x) = log N(f(x); 0, I) + log |det df/dx|`` in nats, over flattened x.

    f starts with an elementwise affine map. Each block then splits the features into two random halves and transforms
    each conditioned on the other, ``b -> b exp(s(a)) + t(a)``, where an MLP predicts s and t from the fixed half and
    the label. Blocks start as the identity; without blocks the model is a diagonal Gaussian.

    Args:
        flat_features: number of features per sample after flattening.
        blocks: number of blocks, each of two affine coupling layers.
        hidden: hidden layer sizes of the MLP in each coupling layer.
        max_log_scale: bound of s by ``max_log_scale tanh(. / max_log_scale)``, so that blocks are invertible in
            float32.
        num_classes: number of classes, or None for an unconditional model.

    Raises:
        ValueError: a single feature, which cannot be split.

    References:
        Dinh et al. 2017, Density Estimation Using Real NVP
    """

    shapes = "x (B, ...), label (B) -> (B)"

    permutations: Tensor

    def __init__(
        self,
        flat_features: PositiveInt,
        blocks: NonNegativeInt = 6,
        hidden: Sequence[PositiveInt] = (64, 64),
        max_log_scale: PositiveFloat = 2.0,
        num_classes: PositiveInt | None = None,
    ):
        super().__init__()
        if blocks and flat_features < 2:
            raise ValueError("a coupling layer needs at least 2 features; the data has 1")
        self.num_classes = num_classes
        self.max_log_scale = max_log_scale
        self.log_scale = nn.Parameter(torch.zeros(flat_features))
        self.shift = nn.Parameter(torch.zeros(flat_features))
        self.register_buffer("permutations", torch.rand(blocks, flat_features).argsort(1))
        second, label = flat_features // 2, num_classes or 0
        first = flat_features - second
        self.second_half_nets, self.first_half_nets = (
            nn.ModuleList(
                _zero_init_last(make_mlp((width_in + label, *hidden, 2 * width_out), nn.ReLU)) for _ in range(blocks)
            )
            for width_in, width_out in ((first, second), (second, first))
        )

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return the log-likelihood ``log p(x)``, or ``log p(x | label)`` of a class-conditional model.

        Args:
            x: samples (B, ...).
            label: class labels (B) of a class-conditional model.

        Returns:
            Log-likelihood (B) in nats.
        """
        z, log_volume = self.encode(x, label)
        return log_volume - (z.square() + math.log(2 * math.pi)).sum(1) / 2

    def encode(self, x: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the latent z (B, F) of x and ``log |det dz/dx|`` (B).

        Args:
            x: samples (B, ...).
            label: class labels (B) of a class-conditional model.
        """
        z = x.flatten(1) * self.log_scale.exp() + self.shift
        log_volume = self.log_scale.sum()
        for order, second_half_net, first_half_net in zip(
            self.permutations, self.second_half_nets, self.first_half_nets, strict=True
        ):
            first, second = z[:, order].tensor_split(2, dim=1)
            log_scale, shift = self._predict_scale_shift(second_half_net, first, label)
            second = second * log_scale.exp() + shift
            log_volume = log_volume + log_scale.sum(1)
            log_scale, shift = self._predict_scale_shift(first_half_net, second, label)
            first = first * log_scale.exp() + shift
            log_volume = log_volume + log_scale.sum(1)
            z = torch.cat((first, second), 1)
        return z, log_volume

    def generate(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Invert latents z (B, F) to samples (B, F).

        Args:
            z: latents (B, F).
            label: class labels (B) of a class-conditional model.
        """
        blocks = zip(self.permutations, self.second_half_nets, self.first_half_nets, strict=True)
        for order, second_half_net, first_half_net in reversed(list(blocks)):
            first, second = z.tensor_split(2, dim=1)
            log_scale, shift = self._predict_scale_shift(first_half_net, second, label)
            first = (first - shift) * (-log_scale).exp()
            log_scale, shift = self._predict_scale_shift(second_half_net, first, label)
            second = (second - shift) * (-log_scale).exp()
            z = torch.cat((first, second), 1)[:, order.argsort()]
        return (z - self.shift) * (-self.log_scale).exp()

    def _predict_scale_shift(self, net: nn.Module, half: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """Predict log scale and shift of one half from the other, (B, K) each."""
        if self.num_classes is not None:
            assert label is not None, "a class-conditional model needs labels"
            half = torch.cat((half, F.one_hot(label, self.num_classes).to(half)), 1)
        log_scale, shift = net(half).to(half.dtype).chunk(2, dim=1)
        return self.max_log_scale * torch.tanh(log_scale / self.max_log_scale), shift


def _zero_init_last(net: nn.Sequential) -> nn.Sequential:
    """Zero-initialize the last layer."""
    last = cast(nn.Linear, net[-1])
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return net
