"""StyleGAN2 generator blocks and the residual blocks of its discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.layers.mlp import make_mlp

LEAKY_SLOPE = 0.2
"""Negative slope of the leaky ReLUs."""


class ModulatedConv(nn.Module):
    """Convolution with weights modulated by a style vector.

    The kernel of a sample is ``w_dck s_c``, where s is an affine map of its style; ``demodulate`` divides it by its
    norm ``sqrt(sum_ck (w_dck s_c)^2)``, so that the scale of the output does not depend on the style. Scaling inputs
    and outputs instead is equivalent and needs one kernel for the batch.

    Args:
        in_channels: number of input channels C.
        out_channels: number of output channels D.
        kernel: odd kernel size.
        style: dimension S of the style.
        demodulate: normalize the kernel of each sample.

    Shape:
        x: (B, C, H, W)
        style: (B, S)
        output: (B, D, H, W)

    References:
        Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, section 2.2
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, style: int, demodulate: bool):
        super().__init__()
        self.weight = nn.Parameter(
            torch.randn(out_channels, in_channels, kernel, kernel) / (in_channels * kernel**2) ** 0.5
        )
        self.affine = nn.Linear(style, in_channels)
        nn.init.normal_(self.affine.weight, std=style**-0.5)
        nn.init.ones_(self.affine.bias)
        self.demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale = self.affine(style)
        out = F.conv2d(x * scale[:, :, None, None], self.weight, padding=self.weight.shape[-1] // 2)
        if self.demodulate:
            power = scale.square() @ self.weight.square().sum((2, 3)).t()  # (B, D)
            out = out * torch.rsqrt(power + 1e-8)[:, :, None, None]
        return out


class StyledLayer(nn.Module):
    """Modulated convolution, per-pixel noise and leaky ReLU.

    Args:
        in_channels: number of input channels C.
        out_channels: number of output channels D.
        style: dimension S of the style.

    Shape:
        x: (B, C, H, W)
        style: (B, S)
        output: (B, D, H, W)
    """

    def __init__(self, in_channels: int, out_channels: int, style: int):
        super().__init__()
        self.conv = ModulatedConv(in_channels, out_channels, 3, style, demodulate=True)
        self.noise_scale = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = self.conv(x, style)
        noise = self.noise_scale * torch.randn(x.shape[0], 1, *x.shape[2:], device=x.device)
        # The factor restores unit variance after the activation.
        return F.leaky_relu(x + noise + self.bias[:, None, None], LEAKY_SLOPE) * 2**0.5


class StyledStage(nn.Module):
    """Upsampling stage with a skip connection to the image (to-RGB).

    Upsamples the features and the image to ``size``, applies two styled layers, and adds their projection to the image.

    Args:
        in_channels: number of input channels C.
        out_channels: number of output channels D.
        style: dimension of the style.
        channels: image channels.
        size: (height, width) of the output.
    """

    def __init__(self, in_channels: int, out_channels: int, style: int, channels: int, size: tuple[int, int]):
        super().__init__()
        self.size = size
        self.layers = nn.ModuleList(
            (StyledLayer(in_channels, out_channels, style), StyledLayer(out_channels, out_channels, style))
        )
        self.to_rgb = ModulatedConv(out_channels, channels, 1, style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, image: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        x, image = (F.interpolate(images, self.size, mode="bilinear") for images in (x, image))
        for layer in self.layers:
            x = layer(x, style)
        return x, image + self.to_rgb(x, style) + self.bias[:, None, None]


class StyleGenerator(nn.Module):
    """StyleGAN2 generator.

    An MLP maps the normalized latent to a style, which modulates one stage per image size, starting from a learned
    constant of the smallest size.

    Args:
        latent: latent dimension Z.
        mapping: widths of the mapping network; the last is the style dimension.
        widths: channels of the stages.
        channels: image channels.
        sizes: (height, width) of each stage, ascending.

    Shape:
        z: (B, Z)
        output: (B, channels, H, W)

    References:
        Karras et al. 2019, A Style-Based Generator Architecture for Generative Adversarial Networks.
        Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN.
    """

    def __init__(
        self,
        latent: int,
        mapping: Sequence[int],
        widths: Sequence[int],
        channels: int,
        sizes: Sequence[tuple[int, int]],
    ):
        super().__init__()
        self.mapping = make_mlp((latent, *mapping), lambda: nn.LeakyReLU(LEAKY_SLOPE)).append(nn.LeakyReLU(LEAKY_SLOPE))
        for layer in (module for module in self.mapping if isinstance(module, nn.Linear)):
            # Styles of unit variance: with smaller ones all images start alike and the generator collapses.
            nn.init.kaiming_normal_(layer.weight, a=LEAKY_SLOPE)
        self.constant = nn.Parameter(torch.randn(widths[0], *sizes[0]))
        steps = zip(pairwise((widths[0], *widths)), sizes, strict=True)
        self.stages = nn.ModuleList(
            StyledStage(width_in, width_out, mapping[-1], channels, size) for (width_in, width_out), size in steps
        )
        self.channels = channels

    def forward(self, z: Tensor) -> Tensor:
        style = self.mapping(F.normalize(z, dim=1) * z.shape[1] ** 0.5)
        x = self.constant.expand(z.shape[0], -1, -1, -1)
        image = x.new_zeros(z.shape[0], self.channels, *x.shape[2:])
        for stage in self.stages:
            x, image = stage(x, image, style)
        return image


class ResidualDownsample(nn.Module):
    """Residual block without normalization that halves the resolution.

    Args:
        in_channels: number of input channels C.
        out_channels: number of output channels D.

    Shape:
        x: (B, C, H, W)
        output: (B, D, ceil(H / 2), ceil(W / 2))
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, padding=1),
            nn.LeakyReLU(LEAKY_SLOPE),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.LeakyReLU(LEAKY_SLOPE),
        )
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.pool = nn.AvgPool2d(2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        return (self.pool(self.branch(x)) + self.shortcut(self.pool(x))) * 0.5**0.5
