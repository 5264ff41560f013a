"""Variational autoencoders: a posterior over a small code, and a likelihood given the code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import PositiveInt
from trainer.models.layers.conv.conv_utils import compute_halved_sizes
from trainer.models.layers.mlp import make_mlp


class _BaseVAE(nn.Module):
    """``down`` lays x flat, ``up`` ends what is decoded; ``encoder`` and ``decoder`` see the label between them."""

    def __init__(self, latent: int, levels: int, num_classes: int | None):
        super().__init__()
        self.latent = latent
        self.levels = levels
        self.num_classes = num_classes
        self.down: nn.Module = nn.Flatten()
        self.up: nn.Module = nn.Identity()
        self.encoder: nn.Module
        self.decoder: nn.Module

    def encode(self, x: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, (B, latent) each, of x (B, ...)."""
        mean, log_variance = self.encoder(self._append_label(self.down(x), label)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z (B, latent) -> (B, D * levels), D numbers in x in their order and those of each beside each other"""
        return self.up(self.decoder(self._append_label(z, label)))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        mean, _ = self.encode(x, label)
        return self.decode(mean, label).reshape(*x.shape, *([self.levels] if self.levels > 1 else []))

    def _append_label(self, x: Tensor, label: Tensor | None) -> Tensor:
        """x (B, F) with its label as one of so many, if there are classes; zeros for no label."""
        if self.num_classes is None:
            return x
        hot = x.new_zeros(len(x), self.num_classes) if label is None else F.one_hot(label, self.num_classes).to(x)
        return torch.cat((x, hot), dim=1)


class VAE(_BaseVAE):
    """Kingma and Welling 2014; Rezende et al. 2014. ``q(z|x) = N(mean(x), diag exp(log_variance(x)))``,
    ``p(z) = N(0, I)``. Encoder and decoder are perceptrons of mirrored widths with a ReLU between every two layers;
    with ``num_classes`` both see the label too (Sohn et al. 2015). ``decode`` gives ``levels`` numbers for each of
    x's: a mean or a logit, or a logit of each level, as the likelihood wants. ``forward`` rebuilds x from the
    posterior's mean; what is built has an axis more where there are several numbers for each of x's.
    """

    shapes = "x (B, ...), label (B) -> (B, ...)"

    def __init__(
        self,
        flat_features: PositiveInt,
        hidden: Sequence[PositiveInt] = (128, 64),
        latent: PositiveInt = 4,
        levels: PositiveInt = 1,
        num_classes: PositiveInt | None = None,
    ):
        super().__init__(latent, levels, num_classes)
        classes = num_classes or 0
        self.encoder = make_mlp((flat_features + classes, *hidden, 2 * latent), nn.ReLU)
        self.decoder = make_mlp((latent + classes, *reversed(hidden), flat_features * levels), nn.ReLU)


class ConvVAE(_BaseVAE):
    """As ``VAE``, for pictures of any size: a convolution to each of ``channels`` halves both sides, rounded up;
    between the last map and the code, on either way, lies a perceptron of one hidden layer, which sees the label;
    transposed convolutions double the sides again, and what is too much is cut off.
    """

    shapes = "x (B, C, H, W), label (B) -> (B, ...)"

    def __init__(
        self,
        in_channels: PositiveInt,
        height: PositiveInt,
        width: PositiveInt,
        channels: Sequence[PositiveInt] = (16, 32),
        hidden: PositiveInt = 128,
        latent: PositiveInt = 16,
        levels: PositiveInt = 1,
        num_classes: PositiveInt | None = None,
    ):
        super().__init__(latent, levels, num_classes)
        classes = num_classes or 0
        last = ((channels or [in_channels])[-1], *compute_halved_sizes(height, width, len(channels))[-1])
        flat = math.prod(last)
        down = [nn.Conv2d(*ends, 3, 2, 1) for ends in pairwise((in_channels, *channels))]
        # A kernel of 4 reaches every pixel with as many weights, as one of 3 does not (Odena et al. 2016).
        up = [nn.ConvTranspose2d(*ends, 4, 2, 1) for ends in pairwise((*reversed(channels), in_channels * levels))]
        self.down = nn.Sequential(*(layer for step in down for layer in (step, nn.ReLU())), nn.Flatten())
        self.encoder = make_mlp((flat + classes, hidden, 2 * latent), nn.ReLU)
        self.decoder = make_mlp((latent + classes, hidden, flat), nn.ReLU)
        grown = (layer for step in up for layer in (nn.ReLU(), step))
        self.up = nn.Sequential(nn.Unflatten(1, last), *grown, _Crop(height, width, levels))


class _Crop(nn.Module):
    shapes = "(B, C * levels, h, w) -> (B, C * height * width * levels)"

    def __init__(self, height: int, width: int, levels: int):
        super().__init__()
        self.height = height
        self.width = width
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : self.height, : self.width].unflatten(1, (-1, self.levels)).movedim(2, -1).flatten(1)
