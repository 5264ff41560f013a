"""U-Net: a picture in, a map of the same size out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.core.types import PositiveInt


class UNet(nn.Module):
    """Ronneberger et al. 2015, with one convolution and batch norm (Ioffe and Szegedy 2015) a block. Going down,
    ``s_i = relu(bn(conv(x_i)))`` and ``x_{i+1} = maxpool(s_i)``; going up, ``relu(bn(conv([upconv(x), s_i])))``.
    Sizes are halved rounding up and cropped on the way back, so any picture fits at any depth. Without skips zeros
    take the place of ``s_i``: the parameters stay the same, and what is lost is only what the skips carry.
    """

    shapes = "x (B, C, H, W) -> (B, C, H, W)"

    def __init__(
        self,
        in_channels: PositiveInt,
        out_features: PositiveInt,
        widths: Sequence[PositiveInt] = (64, 128),
        skips: bool = True,
        bias: bool = False,
    ):
        super().__init__()
        if not widths:
            raise ValueError("widths needs at least one number, one for each halving of the picture")
        self.skips = skips
        inner = [max(1, width // 2) for width in widths]  # what the way up gives, so that both ways weigh the same
        befores = [in_channels, *widths[:-1]]
        self.downs = nn.ModuleList(
            _make_block(before, width, bias) for before, width in zip(befores, widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.bottleneck = _make_block(widths[-1], inner[-1], bias)
        afters = [inner[0], *inner[:-1]]
        steps = zip(inner, widths, afters, strict=True)
        self.ups = nn.ModuleList(_UpBlock(before, skip, after, bias) for before, skip, after in reversed(list(steps)))
        self.head = nn.Conv2d(inner[0], out_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x if self.skips else torch.zeros_like(x))
            x = self.pool(x)
        x = self.bottleneck(x)
        for up in self.ups:
            x = up(x, skips.pop())
        return self.head(x)


class _UpBlock(nn.Module):
    """Twice the size, cropped to the skip's; then one block over both."""

    def __init__(self, before: int, skip: int, after: int, bias: bool):
        super().__init__()
        self.up = nn.ConvTranspose2d(before, before, 2, stride=2)
        self.block = _make_block(before + skip, after, bias)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        height, width = skip.shape[-2:]
        return self.block(torch.cat((self.up(x)[..., :height, :width], skip), dim=1))


def _make_block(before: int, after: int, bias: bool) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=bias), nn.BatchNorm2d(after), nn.ReLU())
