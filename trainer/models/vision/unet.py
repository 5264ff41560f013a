"""U-Net for dense prediction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.core.types import PositiveInt


class UNet(nn.Module):
    """U-Net with one convolution and batch norm per block.

    The encoder computes ``s_i = relu(bn(conv(x_i)))`` and ``x_{i+1} = maxpool(s_i)``, the decoder
    ``relu(bn(conv([upconv(x), s_i])))``. Sizes are halved rounding up and cropped in the decoder, so that every image
    size is valid at every depth.

    Args:
        in_channels: number of image channels C.
        out_features: number of outputs C.
        widths: channels of each resolution.
        skips: without them zeros replace ``s_i``, so that the number of parameters stays the same in an ablation.
        bias: biases in the convolutions before a batch norm.

    References:
        Ronneberger et al. 2015, U-Net.
        Ioffe and Szegedy 2015, Batch Normalization.
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
            raise ValueError("widths needs at least one entry, one per downsampling step")
        self.skips = skips
        # Decoder channels; half the width balances the number of weights of encoder and decoder.
        inner = [max(1, width // 2) for width in widths]
        widths_in = [in_channels, *widths[:-1]]
        self.down_blocks = nn.ModuleList(
            _make_block(width_in, width, bias) for width_in, width in zip(widths_in, widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.bottleneck = _make_block(widths[-1], inner[-1], bias)
        widths_out = [inner[0], *inner[:-1]]
        stages = zip(inner, widths, widths_out, strict=True)
        self.up_blocks = nn.ModuleList(
            _UpBlock(width_in, skip, width_out, bias) for width_in, skip, width_out in reversed(list(stages))
        )
        self.head = nn.Conv2d(inner[0], out_features, 1)

    def repeated_blocks(self) -> Sequence[nn.Module]:
        return (*self.down_blocks, self.bottleneck, *self.up_blocks)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down in self.down_blocks:
            x = down(x)
            skips.append(x if self.skips else torch.zeros_like(x))
            x = self.pool(x)
        x = self.bottleneck(x)
        for up in self.up_blocks:
            x = up(x, skips.pop())
        return self.head(x)


class _UpBlock(nn.Module):
    """Decoder block: upsampling by 2, crop to the skip connection, concatenation and one convolution block."""

    def __init__(self, in_channels: int, skip: int, out_channels: int, bias: bool):
        super().__init__()
        self.upsample = nn.ConvTranspose2d(in_channels, in_channels, 2, stride=2)
        self.block = _make_block(in_channels + skip, out_channels, bias)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        height, width = skip.shape[-2:]
        return self.block(torch.cat((self.upsample(x)[..., :height, :width], skip), dim=1))


def _make_block(in_channels: int, out_channels: int, bias: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias), nn.BatchNorm2d(out_channels), nn.ReLU()
    )
