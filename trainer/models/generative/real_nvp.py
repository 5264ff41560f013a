"""Normalising flows: an invertible map from points to standard normal ones, whose density is therefore exact."""

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
    """Dinh et al. 2017: ``log p(x) = log N(f(x); 0, I) + log |det df/dx|`` in nats, of x laid flat. f scales and shifts
    each number by itself; then each block cuts the numbers into two halves, drawn at random, and changes one by what a
    perceptron reads from the other, and that one in turn: ``b -> b exp(s(a)) + t(a)``. All s are ``max_log_scale tanh(.
    / max_log_scale)``, so that a block can be undone in float32. Blocks start as the identity; without any, the model
    is one Gaussian for each number. Every perceptron reads the label too.

    Raises ValueError for a single number, which has no halves.
    """

    shapes = "x (B, ...), label (B) -> (B)"

    orders: Tensor

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
            raise ValueError("a block changes one half of a row by the other, and rows here have a single number")
        self.num_classes = num_classes
        self.max_log_scale = max_log_scale
        self.log_scale = nn.Parameter(torch.zeros(flat_features))
        self.shift = nn.Parameter(torch.zeros(flat_features))
        self.register_buffer("orders", torch.rand(blocks, flat_features).argsort(1))
        second, label = flat_features // 2, num_classes or 0
        first = flat_features - second
        self.of_second, self.of_first = (
            nn.ModuleList(
                _zero_init_last(make_mlp((seen + label, *hidden, 2 * changed), nn.ReLU)) for _ in range(blocks)
            )
            for seen, changed in ((first, second), (second, first))
        )

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """``log p(x)``, or ``log p(x | label)``, of labels (B)."""
        z, log_volume = self.encode(x, label)
        return log_volume - (z.square() + math.log(2 * math.pi)).sum(1) / 2

    def encode(self, x: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The code z (B, F) of x, and ``log |det dz/dx|`` (B)."""
        z = x.flatten(1) * self.log_scale.exp() + self.shift
        log_volume = self.log_scale.sum()
        for order, of_second, of_first in zip(self.orders, self.of_second, self.of_first, strict=True):
            first, second = z[:, order].tensor_split(2, dim=1)
            log_scale, shift = self._predict_scale_shift(of_second, first, label)
            second = second * log_scale.exp() + shift
            log_volume = log_volume + log_scale.sum(1)
            log_scale, shift = self._predict_scale_shift(of_first, second, label)
            first = first * log_scale.exp() + shift
            log_volume = log_volume + log_scale.sum(1)
            z = torch.cat((first, second), 1)
        return z, log_volume

    def generate(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """The points (B, F) whose codes are z (B, F)."""
        blocks = zip(self.orders, self.of_second, self.of_first, strict=True)
        for order, of_second, of_first in reversed(list(blocks)):
            first, second = z.tensor_split(2, dim=1)
            log_scale, shift = self._predict_scale_shift(of_first, second, label)
            first = (first - shift) * (-log_scale).exp()
            log_scale, shift = self._predict_scale_shift(of_second, first, label)
            second = (second - shift) * (-log_scale).exp()
            z = torch.cat((first, second), 1)[:, order.argsort()]
        return (z - self.shift) * (-self.log_scale).exp()

    def _predict_scale_shift(self, net: nn.Module, half: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log-scales and shifts of one half by the other, (B, K) each."""
        if self.num_classes is not None:
            assert label is not None, "this model is told the class of each row"
            half = torch.cat((half, F.one_hot(label, self.num_classes).to(half)), 1)
        log_scale, shift = net(half).to(half.dtype).chunk(2, dim=1)
        return self.max_log_scale * torch.tanh(log_scale / self.max_log_scale), shift


def _zero_init_last(net: nn.Sequential) -> nn.Sequential:
    """With 0 for all it says at first."""
    last = cast(nn.Linear, net[-1])
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return net
