"""Generative adversarial networks: a generator, and a critic that tells what it makes from what is real."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from trainer.core.types import PositiveInt
from trainer.models.layers.conv.conv_utils import compute_halved_sizes, group_norm
from trainer.models.layers.generative.gan import Critic, Generator
from trainer.models.layers.generative.stylegan import LEAKY_SLOPE, ResidualDownsample, StyleGenerator
from trainer.models.layers.mlp import make_mlp

OUTPUT_ACTIVATIONS: dict[str, type[nn.Module]] = {"none": nn.Identity, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
leaky_relu = partial(nn.LeakyReLU, LEAKY_SLOPE)


class _BaseGAN(nn.Module):
    """A generator and a critic, and what a task asks of the two."""

    generator: Generator
    critic: Critic

    def __init__(self, latent: int, num_classes: int | None, embed_size: int):
        super().__init__()
        self.latent, self.num_classes = latent, num_classes
        self.generator_in_features = latent + (0 if num_classes is None else embed_size)

    def generate(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Rows (B, ...) from noise z (B, latent), and from classes label (B) if there are any."""
        return self.generator(z, label)

    def features(self, x: Tensor) -> Tensor:
        """The critic's last hidden layer, (B, D)."""
        return self.critic.trunk(x)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.critic(x, label)


class GAN(_BaseGAN):
    """Goodfellow et al. 2014; Arjovsky et al. 2017; conditional: Mirza and Osindero 2014. ``x = generator(z), z ~ N(0,
    I)``, laid flat; ``critic(x)`` is one unbounded number, with no sigmoid behind it. ``forward`` is the critic's
    judgement. Perceptrons, with no batch norm, whose rows would see one another: a penalty on the gradient at each
    point needs them apart.
    """

    shapes = "x (B, ...), label (B) -> (B)"

    def __init__(
        self,
        flat_features: PositiveInt,
        num_classes: PositiveInt | None = None,
        latent: PositiveInt = 16,
        embed_size: PositiveInt = 10,
        generator_hidden: Sequence[PositiveInt] = (128, 128),
        critic_hidden: Sequence[PositiveInt] = (128, 128),
        squash: Literal["none", "tanh", "sigmoid"] = "none",
        spectral_norm: bool = False,
    ):
        super().__init__(latent, num_classes, embed_size)
        net = make_mlp((self.generator_in_features, *generator_hidden, flat_features), nn.ReLU).append(
            OUTPUT_ACTIVATIONS[squash]()
        )
        self.generator = Generator(net, num_classes, embed_size)
        widths = (flat_features, *critic_hidden)
        trunk = nn.Sequential(nn.Flatten())
        for before, after in pairwise(widths):
            trunk.extend((nn.Linear(before, after), leaky_relu()))
        self.critic = Critic(trunk, widths[-1], num_classes, spectral_norm)


class DCGAN(_BaseGAN):
    """Radford et al. 2016. The noise becomes a small picture of ``widths[-1]`` maps, which transposed convolutions
    double once for each of ``widths``, cropped to the size that halving the pictures gave, rounded up; the critic
    halves by convolutions of the same widths, rounding down. Where the paper has batch norm, the generator has group
    norm (Wu and He 2018) or none and the critic none, so that rows stay apart and averaged weights need no statistics.

    Raises ValueError for pictures of which the critic's halvings leave nothing.
    """

    shapes = "x (B, C, H, W), label (B) -> (B)"

    def __init__(
        self,
        in_channels: PositiveInt,
        height: PositiveInt,
        width: PositiveInt,
        num_classes: PositiveInt | None = None,
        latent: PositiveInt = 32,
        embed_size: PositiveInt = 10,
        widths: Sequence[PositiveInt] = (32, 64, 128),
        norm: Literal["group", "none"] = "group",
        squash: Literal["none", "tanh", "sigmoid"] = "tanh",
        spectral_norm: bool = False,
    ):
        super().__init__(latent, num_classes, embed_size)
        sides = height >> len(widths), width >> len(widths)
        if not widths or min(sides) < 1:
            raise ValueError(
                f"widths needs a number for each halving of the picture; {len(widths)} given for {height} x {width}"
            )
        sizes = compute_halved_sizes(height, width, len(widths))
        smallest = (widths[-1], *sizes[-1])
        layers: list[nn.Module] = [
            nn.Linear(self.generator_in_features, math.prod(smallest)),
            nn.Unflatten(1, smallest),
        ]
        befores, afters = widths[::-1], [*widths[-2::-1], in_channels]
        for before, after, size in zip(befores, afters, sizes[-2::-1], strict=True):
            layers += [*([group_norm(before)] if norm == "group" else []), nn.ReLU(), _Upsample(before, after, size)]
        self.generator = Generator(nn.Sequential(*layers, OUTPUT_ACTIVATIONS[squash]()), num_classes, embed_size)

        trunk = nn.Sequential()
        for before, after in pairwise((in_channels, *widths)):
            trunk.extend((nn.Conv2d(before, after, 4, stride=2, padding=1), leaky_relu()))
        self.critic = Critic(trunk.append(nn.Flatten()), widths[-1] * math.prod(sides), num_classes, spectral_norm)


class StyleGAN(_BaseGAN):
    """A small one of Karras et al. 2019 and 2020: a mapping network, modulated and demodulated convolutions, noise at
    each layer, a constant to start from; no equalised learning rates, style mixing or path length penalty. The critic
    is residual, and halves the picture once for each of ``widths`` but the first, rounding up, so every picture fits.
    """

    shapes = "x (B, C, H, W), label (B) -> (B)"

    def __init__(
        self,
        in_channels: PositiveInt,
        height: PositiveInt,
        width: PositiveInt,
        num_classes: PositiveInt | None = None,
        latent: PositiveInt = 32,
        embed_size: PositiveInt = 10,
        mapping: Sequence[PositiveInt] = (32, 32, 32),
        widths: Sequence[PositiveInt] = (8, 16, 32),
        critic_hidden: PositiveInt = 64,
        spectral_norm: bool = False,
    ):
        super().__init__(latent, num_classes, embed_size)
        if not widths or not mapping:
            raise ValueError("widths and mapping need at least one number each")
        sizes = compute_halved_sizes(height, width, len(widths) - 1)
        net = StyleGenerator(self.generator_in_features, mapping, widths[::-1], in_channels, sizes[::-1])
        self.generator = Generator(net, num_classes, embed_size)
        blocks = [ResidualDownsample(before, after) for before, after in pairwise(widths)]
        entry, end = nn.Conv2d(in_channels, widths[0], 1), nn.Linear(widths[-1] * math.prod(sizes[-1]), critic_hidden)
        trunk = nn.Sequential(entry, leaky_relu(), *blocks, nn.Flatten(), end, leaky_relu())
        self.critic = Critic(trunk, critic_hidden, num_classes, spectral_norm)


class _Upsample(nn.ConvTranspose2d):
    shapes = "x (B, C, h, w) -> (B, D, H, W), twice the size, cropped to ``size``."

    def __init__(self, before: int, after: int, size: tuple[int, int]):
        super().__init__(before, after, 4, stride=2, padding=1)
        self.size = size

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(x)[..., : self.size[0], : self.size[1]]
