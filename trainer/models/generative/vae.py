"""Variational autoencoders with MLP and convolutional networks."""

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
    """Encoder and decoder with class conditioning.

    ``downsample`` flattens x and ``upsample`` restores its shape. In a class-conditional model the one-hot label is
    concatenated to the inputs of ``encoder`` and ``decoder``.
    """

    def __init__(self, latent: int, levels: int, num_classes: int | None):
        super().__init__()
        self.latent = latent
        self.levels = levels
        self.num_classes = num_classes
        self.downsample: nn.Module = nn.Flatten()
        self.upsample: nn.Module = nn.Identity()
        self.encoder: nn.Module
        self.decoder: nn.Module

    def encode(self, x: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the posterior of x (B, ...), (B, latent) each.

        Args:
            x: samples (B, ...).
            label: class labels (B); None conditions on no class.
        """
        mean, log_variance = self.encoder(self._append_label(self.downsample(x), label)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Decode z (B, latent) to (B, D * levels), the D features in order with ``levels`` outputs each.

        Args:
            z: latents (B, latent).
            label: class labels (B); None conditions on no class.
        """
        return self.upsample(self.decoder(self._append_label(z, label)))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        mean, _ = self.encode(x, label)
        return self.decode(mean, label).reshape(*x.shape, *([self.levels] if self.levels > 1 else []))

    def _append_label(self, x: Tensor, label: Tensor | None) -> Tensor:
        """Concatenate the one-hot label to x (B, F) in a class-conditional model; zeros without a label."""
        if self.num_classes is None:
            return x
        one_hot = (
            x.new_zeros(x.shape[0], self.num_classes) if label is None else F.one_hot(label, self.num_classes).to(x)
        )
        return torch.cat((x, one_hot), dim=1)


class VAE(_BaseVAE):
    """Variational autoencoder with MLPs, ``q(z|x) = N(mean(x), diag exp(log_variance(x)))``, ``p(z) = N(0, I)``.

    ``forward`` reconstructs x from the posterior mean, with a trailing dimension if ``levels`` exceeds 1.

    Args:
        flat_features: number of features per sample after flattening.
        hidden: hidden layer sizes of the encoder, mirrored in the decoder.
        latent: latent size.
        levels: decoder outputs per feature, as the likelihood requires: a mean, a logit, or one logit per level.
        num_classes: number of classes for conditioning, or None.

    References:
        Kingma and Welling 2014, Auto-Encoding Variational Bayes.
        Rezende et al. 2014, Stochastic Backpropagation and Approximate Inference in Deep Generative Models.
        Sohn et al. 2015, Learning Structured Output Representation (class conditioning).
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
    """Convolutional VAE for images of any size; see ``VAE``.

    Each of ``channels`` is a convolution that halves both sides, rounding up. An MLP with one hidden layer, conditioned
    on the label, connects the last feature map and the latent in each direction. Transposed convolutions double the
    sides, and the output is cropped.

    Args:
        in_channels: number of image channels C.
        height: image height in pixels.
        width: image width in pixels.
        channels: channels of each convolution, which halves the resolution; the decoder is symmetric.
        hidden: hidden size of the MLPs between feature map and latent.
        latent: latent size.
        levels: output levels per element: 1, or the number of levels for a categorical likelihood.
        num_classes: number of classes for conditioning; None: unconditional.
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
        down = [nn.Conv2d(*widths, 3, 2, 1) for widths in pairwise((in_channels, *channels))]
        # Kernel 4 covers all pixels equally at stride 2 and avoids checkerboard artifacts (Odena et al. 2016).
        up = [nn.ConvTranspose2d(*widths, 4, 2, 1) for widths in pairwise((*reversed(channels), in_channels * levels))]
        self.downsample = nn.Sequential(*(layer for step in down for layer in (step, nn.ReLU())), nn.Flatten())
        self.encoder = make_mlp((flat + classes, hidden, 2 * latent), nn.ReLU)
        self.decoder = make_mlp((latent + classes, hidden, flat), nn.ReLU)
        upsampling = (layer for step in up for layer in (nn.ReLU(), step))
        self.upsample = nn.Sequential(nn.Unflatten(1, last), *upsampling, _Crop(height, width, levels))


class _Crop(nn.Module):
    """Crop to the image size and move the levels last before flattening."""

    shapes = "(B, C * levels, h, w) -> (B, C * height * width * levels)"

    def __init__(self, height: int, width: int, levels: int):
        super().__init__()
        self.height = height
        self.width = width
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : self.height, : self.width].unflatten(1, (-1, self.levels)).movedim(2, -1).flatten(1)
