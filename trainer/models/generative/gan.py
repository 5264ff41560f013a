"""Generative adversarial networks: MLP GAN, DCGAN and StyleGAN."""

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
from trainer.utils.choices import get_choice

OUTPUT_ACTIVATIONS: dict[str, type[nn.Module]] = {"none": nn.Identity, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
leaky_relu = partial(nn.LeakyReLU, LEAKY_SLOPE)


class _BaseGAN(nn.Module):
    """Generator and critic with the methods that GAN tasks require."""

    generator: Generator
    critic: Critic

    def __init__(self, latent: int, num_classes: int | None, embed_size: int):
        super().__init__()
        self.latent, self.num_classes = latent, num_classes
        self.generator_in_features = latent + (0 if num_classes is None else embed_size)

    def generate(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Generate samples (B, ...) from noise z (B, latent) and labels (B), if the model is class-conditional.

        Args:
            z: noise (B, latent).
            label: class labels (B) of a class-conditional model.
        """
        return self.generator(z, label)

    def features(self, x: Tensor) -> Tensor:
        """Return the last hidden layer of the critic, (B, D)."""
        return self.critic.trunk(x)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.critic(x, label)


class GAN(_BaseGAN):
    """GAN with MLPs as generator and critic; the critic outputs one unbounded logit per sample.

    ``x = generator(z), z ~ N(0, I)``, flattened. There is no batch norm, since gradient penalties require the critic to
    process samples independently.

    Args:
        flat_features: number of features per sample after flattening.
        num_classes: number of classes, or None for an unconditional model.
        latent: noise dimension.
        embed_size: class embedding size.
        generator_hidden: hidden layer sizes of the generator.
        critic_hidden: hidden layer sizes of the critic.
        output_activation: output activation of the generator.
        spectral_norm: spectral normalization in the critic.

    References:
        Goodfellow et al. 2014, Generative Adversarial Nets.
        Mirza and Osindero 2014, Conditional Generative Adversarial Nets.
        Arjovsky et al. 2017, Wasserstein GAN.
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
        output_activation: Literal["none", "tanh", "sigmoid"] = "none",
        spectral_norm: bool = False,
    ):
        super().__init__(latent, num_classes, embed_size)
        net = make_mlp((self.generator_in_features, *generator_hidden, flat_features), nn.ReLU).append(
            get_choice("output_activation", output_activation, OUTPUT_ACTIVATIONS)()
        )
        self.generator = Generator(net, num_classes, embed_size)
        widths = (flat_features, *critic_hidden)
        trunk = nn.Sequential(nn.Flatten())
        for width_in, width_out in pairwise(widths):
            trunk.extend((nn.Linear(width_in, width_out), leaky_relu()))
        self.critic = Critic(trunk, widths[-1], num_classes, spectral_norm)


class DCGAN(_BaseGAN):
    """DCGAN: a generator of transposed convolutions and a critic of strided convolutions.

    The noise is projected to a small feature map of ``widths[-1]`` channels. Each transposed convolution doubles the
    size, cropped to the sizes of halving the image rounded up; the critic halves rounding down. Instead of batch norm,
    the generator has group norm or none and the critic none, so that samples are processed independently and EMA
    weights need no statistics.

    Args:
        in_channels: number of image channels C.
        height: image height in pixels.
        width: image width in pixels.
        num_classes: number of classes for conditioning; None: unconditional.
        latent: noise vector size.
        embed_size: class embedding size.
        widths: channels of each resolution, from the highest.
        norm: norm in the generator: ``group`` or ``none``.
        output_activation: output activation of the generator: ``none``, ``tanh`` or ``sigmoid``.
        spectral_norm: spectral normalization of the critic's weights.

    Raises:
        ValueError: an image too small for the halvings of the critic.

    References:
        Radford et al. 2016, Unsupervised Representation Learning with DCGANs.
        Wu and He 2018, Group Normalization.
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
        output_activation: Literal["none", "tanh", "sigmoid"] = "tanh",
        spectral_norm: bool = False,
    ):
        super().__init__(latent, num_classes, embed_size)
        sides = height >> len(widths), width >> len(widths)
        if not widths or min(sides) < 1:
            raise ValueError(
                f"widths needs one entry per halving of the image; {len(widths)} given for {height} x {width}"
            )
        sizes = compute_halved_sizes(height, width, len(widths))
        smallest = (widths[-1], *sizes[-1])
        layers: list[nn.Module] = [
            nn.Linear(self.generator_in_features, math.prod(smallest)),
            nn.Unflatten(1, smallest),
        ]
        widths_in, widths_out = widths[::-1], [*widths[-2::-1], in_channels]
        for width_in, width_out, size in zip(widths_in, widths_out, sizes[-2::-1], strict=True):
            layers += [
                *([group_norm(width_in)] if norm == "group" else []),
                nn.ReLU(),
                _Upsample(width_in, width_out, size),
            ]
        self.generator = Generator(
            nn.Sequential(*layers, get_choice("output_activation", output_activation, OUTPUT_ACTIVATIONS)()),
            num_classes,
            embed_size,
        )

        trunk = nn.Sequential()
        for width_in, width_out in pairwise((in_channels, *widths)):
            trunk.extend((nn.Conv2d(width_in, width_out, 4, stride=2, padding=1), leaky_relu()))
        self.critic = Critic(trunk.append(nn.Flatten()), widths[-1] * math.prod(sides), num_classes, spectral_norm)


class StyleGAN(_BaseGAN):
    """Small StyleGAN2 with a residual critic.

    Mapping network, modulated and demodulated convolutions, per-layer noise and a learned constant input; without
    equalized learning rates, style mixing and path length regularization. The critic halves the image once for each of
    ``widths`` but the first, rounding up, so that every image size is valid.

    Args:
        in_channels: number of image channels C.
        height: image height in pixels.
        width: image width in pixels.
        num_classes: number of classes for conditioning; None: unconditional.
        latent: noise vector size.
        embed_size: class embedding size.
        mapping: hidden layer sizes of the mapping network.
        widths: channels of each resolution, from the highest.
        critic_hidden: size of the critic's last hidden layer.
        spectral_norm: spectral normalization of the critic's weights.

    References:
        Karras et al. 2019, A Style-Based Generator Architecture for Generative Adversarial Networks.
        Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN.
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
            raise ValueError("widths and mapping need at least one entry each")
        sizes = compute_halved_sizes(height, width, len(widths) - 1)
        net = StyleGenerator(self.generator_in_features, mapping, widths[::-1], in_channels, sizes[::-1])
        self.generator = Generator(net, num_classes, embed_size)
        blocks = [ResidualDownsample(width_in, width_out) for width_in, width_out in pairwise(widths)]
        entry, end = nn.Conv2d(in_channels, widths[0], 1), nn.Linear(widths[-1] * math.prod(sizes[-1]), critic_hidden)
        trunk = nn.Sequential(entry, leaky_relu(), *blocks, nn.Flatten(), end, leaky_relu())
        self.critic = Critic(trunk, critic_hidden, num_classes, spectral_norm)


class _Upsample(nn.ConvTranspose2d):
    """Transposed convolution that doubles the size and crops to ``size``."""

    shapes = "x (B, C, h, w) -> (B, D, H, W)"

    def __init__(self, in_channels: int, out_channels: int, size: tuple[int, int]):
        super().__init__(in_channels, out_channels, 4, stride=2, padding=1)
        self.size = size

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(x)[..., : self.size[0], : self.size[1]]
