"""A generator whose layers are steered by a style, and the residual blocks of the critic beside it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.layers.mlp import make_mlp

LEAKY_SLOPE = 0.2
"""Of a leaky ReLU below 0."""


class ModulatedConv(nn.Module):
    """x (B, C, H, W), style (B, S) -> (B, D, H, W)

    Karras et al. 2020: the kernel of a row is ``w_dck s_c``, with s an affine map of its style, and ``demodulate``
    divides it by its norm ``sqrt(sum_ck (w_dck s_c)^2)``, so that outputs keep their scale whatever the style.
    Scaling inputs and outputs instead gives the same numbers with one kernel for all rows.
    """

    def __init__(self, before: int, after: int, kernel: int, style: int, demodulate: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel) / (before * kernel**2) ** 0.5)
        self.affine = nn.Linear(style, before)
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
    """x (B, C, H, W), style (B, S) -> (B, D, H, W): a modulated convolution, noise at each pixel, and a leaky ReLU."""

    def __init__(self, before: int, after: int, style: int):
        super().__init__()
        self.convolution = ModulatedConv(before, after, 3, style, demodulate=True)
        self.noise = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(after))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = self.convolution(x, style)
        noise = self.noise * torch.randn(len(x), 1, *x.shape[2:], device=x.device)
        # The square root brings the activations back to the scale that the next layer expects.
        return F.leaky_relu(x + noise + self.bias[:, None, None], LEAKY_SLOPE) * 2**0.5


class StyledStage(nn.Module):
    """Maps and the picture so far, both enlarged to ``size``; two layers, and what they add to the picture."""

    def __init__(self, before: int, after: int, style: int, channels: int, size: tuple[int, int]):
        super().__init__()
        self.size = size
        self.layers = nn.ModuleList((StyledLayer(before, after, style), StyledLayer(after, after, style)))
        self.ink = ModulatedConv(after, channels, 1, style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, picture: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        x, picture = (F.interpolate(maps, self.size, mode="bilinear") for maps in (x, picture))
        for layer in self.layers:
            x = layer(x, style)
        return x, picture + self.ink(x, style) + self.bias[:, None, None]


class StyleGenerator(nn.Module):
    """z (B, Z) -> (B, channels, H, W)

    Karras et al. 2019 and 2020: perceptrons map the noise, on a sphere, to a style; a learned constant of the smallest
    of ``sizes`` grows through one stage a size, each steered by the style and adding to the picture.
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
        for layer in (part for part in self.mapping if isinstance(part, nn.Linear)):
            # A style of unit variance: from a smaller one, all pictures start alike and stay so.
            nn.init.kaiming_normal_(layer.weight, a=LEAKY_SLOPE)
        self.constant = nn.Parameter(torch.randn(widths[0], *sizes[0]))
        steps = zip(pairwise((widths[0], *widths)), sizes, strict=True)
        self.stages = nn.ModuleList(
            StyledStage(before, after, mapping[-1], channels, size) for (before, after), size in steps
        )
        self.channels = channels

    def forward(self, z: Tensor) -> Tensor:
        style = self.mapping(F.normalize(z, dim=1) * z.shape[1] ** 0.5)
        x = self.constant.expand(len(z), -1, -1, -1)
        picture = x.new_zeros(len(z), self.channels, *x.shape[2:])
        for stage in self.stages:
            x, picture = stage(x, picture, style)
        return picture


class ResidualDownsample(nn.Module):
    """x (B, C, H, W) -> (B, D, ceil(H / 2), ceil(W / 2)): two convolutions beside a straight way, no norm."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(before, before, 3, padding=1),
            nn.LeakyReLU(LEAKY_SLOPE),
            nn.Conv2d(before, after, 3, padding=1),
            nn.LeakyReLU(LEAKY_SLOPE),
        )
        self.shortcut = nn.Conv2d(before, after, 1, bias=False)
        self.pool = nn.AvgPool2d(2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        return (self.pool(self.branch(x)) + self.shortcut(self.pool(x))) * 0.5**0.5
