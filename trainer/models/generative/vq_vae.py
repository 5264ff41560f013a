"""Vector-quantized autoencoders with an autoregressive prior over the codes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, TypedDict, Unpack

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import Decay, PositiveInt, Probability
from trainer.models.layers.conv.conv_utils import compute_halved_sizes
from trainer.models.layers.generative.codebook_prior import CodebookPrior
from trainer.models.layers.generative.vector_quantizer import VectorQuantizer
from trainer.models.layers.mlp import make_mlp


class CodebookOptions(TypedDict, total=False):
    """Keyword arguments of codebook and prior, used as ``**codes: Unpack[CodebookOptions]``."""

    codes: PositiveInt
    code_width: PositiveInt
    decay: Decay
    restarts: bool
    prior_width: PositiveInt
    prior_layers: PositiveInt
    prior_dropout: Probability
    num_classes: PositiveInt | None


class _BaseVQVAE(nn.Module, ABC):
    """Autoencoder with ``num_positions`` codes per sample from one codebook."""

    def __init__(self, num_positions: int, options: CodebookOptions):
        super().__init__()
        self.num_classes = options["num_classes"]
        self.codes = options["codes"]
        self.quantizer = VectorQuantizer(options["codes"], options["code_width"], options["decay"], options["restarts"])
        prior = (options["prior_width"], options["prior_layers"], options["prior_dropout"])
        self.prior = CodebookPrior(options["codes"], num_positions, *prior, self.num_classes)

    def repeated_blocks(self) -> Sequence[nn.Module]:
        return tuple(self.prior.transformer.blocks)

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Encode x (B, ...) to vectors (B, L, D)."""

    @abstractmethod
    def decode(self, vectors: Tensor) -> Tensor:
        """Decode vectors (B, L, D) to (B, ...)."""

    def quantize(self, z: Tensor, update_codebook: bool = True) -> tuple[Tensor, Tensor]:
        """Return the nearest codebook vectors (B, L, D) and their codes (B, L).

        Args:
            z: encoder outputs (B, L, D).
            update_codebook: update the codebook, if in training mode.
        """
        return self.quantizer(z, update_codebook)

    def code_scores(self, codes: Tensor, label: Tensor | None = None) -> Tensor:
        """Return the logits (B, L, K) of the prior for codes (B, L).

        Args:
            codes: codes (B, L).
            label: class labels (B) of a class-conditional prior.
        """
        return self.prior(codes, label)

    def generate(self, count: int, label: Tensor | None = None) -> Tensor:
        """Sample codes from the prior and decode them to (count, ...).

        Args:
            count: number of samples.
            label: class labels (count) of a class-conditional prior.
        """
        return self.decode_codes(self.prior.write(count, label))

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Decode codes (B, L) to (B, ...)."""
        return self.decode(F.embedding(codes, self.quantizer.codebook))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.quantize(self.encode(x))[0]).reshape_as(x)


class VQVAE(_BaseVQVAE):
    """VQ-VAE for points and tables with MLPs: ``decode(e_code)`` with ``code = argmin_k |encode(x) - e_k|``.

    The codebook follows the encoder without a gradient, and a causal Transformer learns the prior over codes.

    Args:
        flat_features: number of features per sample after flattening.
        hidden: hidden layer sizes of the encoder, mirrored in the decoder.
        groups: codes per sample.
        **codes: options of codebook and prior, see ``CodebookOptions``.

    References:
        van den Oord et al. 2017, Neural Discrete Representation Learning
    """

    shapes = "x (B, ...) -> (B, ...)"

    option_defaults: ClassVar[CodebookOptions] = {
        "codes": 16,
        "code_width": 8,
        "decay": 0.99,
        "restarts": True,
        "prior_width": 32,
        "prior_layers": 1,
        "prior_dropout": 0.0,
        "num_classes": None,
    }

    def __init__(
        self,
        flat_features: PositiveInt,
        hidden: Sequence[PositiveInt] = (64,),
        groups: PositiveInt = 1,
        **codes: Unpack[CodebookOptions],
    ):
        codes = self.option_defaults | codes
        super().__init__(groups, codes)
        self.groups = groups
        code_features = groups * codes["code_width"]
        self.encoder = make_mlp((flat_features, *hidden, code_features), nn.ReLU)
        self.decoder = make_mlp((code_features, *reversed(hidden), flat_features), nn.ReLU)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1)).unflatten(1, (self.groups, -1))

    def decode(self, vectors: Tensor) -> Tensor:
        return self.decoder(vectors.flatten(1))


class ConvVQVAE(_BaseVQVAE):
    """Convolutional VQ-VAE with one code per position of the feature map.

    Each of ``widths`` halves both sides, rounding up; the prior models the codes in row-major order. There is no
    normalization, so that codes depend on their receptive field only.

    Args:
        in_channels: number of image channels C.
        height: image height in pixels.
        width: image width in pixels.
        widths: channels of each convolution, which halves the resolution; the last output is the grid of codes.
        **codes: options of codebook and prior, see ``CodebookOptions``.

    Raises:
        ValueError: no widths.

    References:
        van den Oord et al. 2017, Neural Discrete Representation Learning
    """

    shapes = "x (B, C, H, W) -> (B, C, H, W)"

    option_defaults: ClassVar[CodebookOptions] = {
        "codes": 64,
        "code_width": 8,
        "decay": 0.99,
        "restarts": True,
        "prior_width": 64,
        "prior_layers": 2,
        "prior_dropout": 0.2,
        "num_classes": None,
    }

    def __init__(
        self,
        in_channels: PositiveInt,
        height: PositiveInt,
        width: PositiveInt,
        widths: Sequence[PositiveInt] = (16, 32, 64),
        **codes: Unpack[CodebookOptions],
    ):
        if not widths:
            raise ValueError("widths needs at least one entry, one per halving of the image")
        sizes = compute_halved_sizes(height, width, len(widths))
        codes = self.option_defaults | codes
        super().__init__(math.prod(sizes[-1]), codes)
        self.grid = sizes[-1]
        self.encoder = nn.Sequential(
            *(part for pair in pairwise((in_channels, *widths)) for part in _downsample(*pair)),
            nn.Conv2d(widths[-1], codes["code_width"], 1),
        )
        ups = zip(pairwise(reversed(widths)), reversed(sizes[1:-1]), strict=True)
        self.decoder = nn.Sequential(
            nn.Conv2d(codes["code_width"], widths[-1], 3, padding=1),
            nn.ReLU(),
            *(part for pair, size in ups for part in _upsample(*pair, size)),
            nn.Upsample(sizes[0]),
            nn.Conv2d(widths[0], widths[0], 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(widths[0], in_channels, 3, padding=1),
        )

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x).flatten(2).transpose(1, 2)

    def decode(self, vectors: Tensor) -> Tensor:
        return self.decoder(vectors.transpose(1, 2).unflatten(2, self.grid))


def _downsample(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    """Return layers that halve each side, rounding up."""
    return (
        *(nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(out_channels, out_channels, 3, padding=1), nn.ReLU()),
    )


def _upsample(in_channels: int, out_channels: int, size: tuple[int, int]) -> tuple[nn.Module, ...]:
    return nn.Upsample(size), nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU()
