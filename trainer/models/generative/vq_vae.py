"""Autoencoders whose code is a few whole numbers, and a prior over these that new ones are drawn from."""

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
    """What a user may choose of codebook and prior: ``**codes: Unpack[CodeOptions]``."""

    codes: PositiveInt
    code_width: PositiveInt
    decay: Decay
    restarts: bool
    prior_width: PositiveInt
    prior_layers: PositiveInt
    prior_dropout: Probability
    num_classes: PositiveInt | None


class _BaseVQVAE(nn.Module, ABC):
    """A row as codes at ``places``, of one codebook."""

    def __init__(self, places: int, options: CodebookOptions):
        super().__init__()
        self.num_classes = options["num_classes"]
        self.codes = options["codes"]
        self.quantiser = VectorQuantizer(options["codes"], options["code_width"], options["decay"], options["restarts"])
        prior = (options["prior_width"], options["prior_layers"], options["prior_dropout"])
        self.prior = CodebookPrior(options["codes"], places, *prior, self.num_classes)

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """x (B, ...) -> (B, L, D)"""

    @abstractmethod
    def decode(self, vectors: Tensor) -> Tensor:
        """(B, L, D) -> (B, ...)"""

    def quantize(self, z: Tensor, follow: bool = True) -> tuple[Tensor, Tensor]:
        """The vectors of the codebook nearest to z, (B, L, D), and their codes (B, L); in training it follows z."""
        return self.quantiser(z, follow)

    def code_scores(self, codes: Tensor, label: Tensor | None = None) -> Tensor:
        """What the prior thinks of every code in place of each of codes (B, L): logits (B, L, K)."""
        return self.prior(codes, label)

    def generate(self, count: int, label: Tensor | None = None) -> Tensor:
        """New rows (count, ...): the prior writes codes, the decoder reads them."""
        codes = self.prior.write(count, label)
        return self.decode(F.embedding(codes, self.quantiser.codebook))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.quantize(self.encode(x))[0]).reshape_as(x)


class VQVAE(_BaseVQVAE):
    """van den Oord et al. 2017, for points and tables: ``decode(e_code)`` with ``code = argmin_k |encode(x) - e_k|``,
    ``groups`` codes a row. Encoder and decoder are perceptrons of mirrored widths with a ReLU between every two layers;
    the codebook follows the encoder without a gradient, and a causal Transformer learns which codes go together.
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
        wide = groups * codes["code_width"]
        self.encoder = make_mlp((flat_features, *hidden, wide), nn.ReLU)
        self.decoder = make_mlp((wide, *reversed(hidden), flat_features), nn.ReLU)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1)).unflatten(1, (self.groups, -1))

    def decode(self, vectors: Tensor) -> Tensor:
        return self.decoder(vectors.flatten(1))


class ConvVQVAE(_BaseVQVAE):
    """van den Oord et al. 2017, for pictures: every one of ``widths`` halves both sides, rounding up, and each place of
    what is left has a code; the prior writes them row by row. No norms: each place is encoded by what is around it.

    Raises ValueError without widths.
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
            raise ValueError("widths needs at least one number, one for each halving of the picture")
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


def _downsample(before: int, after: int) -> tuple[nn.Module, ...]:
    """Half of each side, rounded up."""
    return (
        *(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(after, after, 3, padding=1), nn.ReLU()),
    )


def _upsample(before: int, after: int, size: tuple[int, int]) -> tuple[nn.Module, ...]:
    return nn.Upsample(size), nn.Conv2d(before, after, 3, padding=1), nn.ReLU()
