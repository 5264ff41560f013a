"""U-Net denoiser for diffusion and flow matching on images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import NonNegativeInt, PositiveInt, Probability
from trainer.models.layers.attention.attention import FullAttention, MultiHeadAttention
from trainer.models.layers.conv.conv_utils import group_norm
from trainer.models.layers.generative.time_embedding import TimeEmbedding


class DiffusionUNet(nn.Module):
    """Diffusion U-Net of residual blocks with group norm, conditioned on time in [0, 1] and class label.

    The conditioning scales and shifts the normalized features. Each of ``widths`` after the first follows a halving of
    the image, rounding up; the decoder restores the sizes, so that every image size is valid. The last layer is
    zero-initialized, so that an untrained network outputs zero.

    Args:
        in_channels: number of image channels C.
        widths: channels of each resolution.
        blocks: residual blocks per resolution.
        heads: heads of self-attention at the lowest resolution; 0 disables it.
        dropout: dropout probability in the residual blocks.
        num_classes: number of classes, or None for an unconditional model.

    References:
        Ronneberger et al. 2015, U-Net.
        Ho et al. 2020, Denoising Diffusion Probabilistic Models.
    """

    shapes = "x (B, C, H, W), time (B), label (B) -> (B, C, H, W)"

    def __init__(
        self,
        in_channels: PositiveInt,
        widths: Sequence[PositiveInt] = (32, 64),
        blocks: PositiveInt = 1,
        heads: NonNegativeInt = 4,
        dropout: Probability = 0.0,
        num_classes: PositiveInt | None = None,
    ):
        super().__init__()
        if not widths:
            raise ValueError("widths needs at least one entry, one per resolution")
        if heads and widths[-1] % heads:
            raise ValueError(f"heads: {heads} does not divide the last of widths, {widths[-1]}")
        self.num_classes = num_classes
        cond_dim = 4 * widths[0]
        self.time_embedding = TimeEmbedding(cond_dim, num_classes)

        def make_level(width_in: int, skip: int, width: int) -> nn.ModuleList:
            widths_in = [width_in, *[width] * (blocks - 1)]
            return nn.ModuleList(_ResidualBlock(channels + skip, width, cond_dim, dropout) for channels in widths_in)

        first, last = widths[0], widths[-1]
        self.conv_in = nn.Conv2d(in_channels, first, 3, padding=1)
        self.down_blocks = nn.ModuleList(
            make_level(width_in, 0, width) for width_in, width in pairwise((first, *widths))
        )
        self.downsamplers = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for width in widths[:-1])
        self.mid_blocks = nn.ModuleList(_ResidualBlock(last, last, cond_dim, dropout) for _ in range(2))
        self.attention = _SelfAttention(last, heads) if heads else nn.Identity()
        self.up_blocks = nn.ModuleList(
            make_level(width_in, width, width) for width_in, width in pairwise((last, *reversed(widths)))
        )
        self.upsamplers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for width in reversed(widths[1:]))
        self.conv_out = nn.Sequential(group_norm(first), nn.SiLU(), nn.Conv2d(first, in_channels, 3, padding=1))
        for parameter in self.conv_out[-1].parameters():
            nn.init.zeros_(parameter)

    def repeated_blocks(self) -> Sequence[nn.Module]:
        levels = (*self.down_blocks, self.mid_blocks, *self.up_blocks)
        return tuple(block for level in levels for block in cast(nn.ModuleList, level))

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        cond = self.time_embedding(time, label)
        h, skips = self.conv_in(x), []
        for blocks, downsample in zip(self.down_blocks, (*self.downsamplers, nn.Identity()), strict=True):
            for block in cast(nn.ModuleList, blocks):
                h = block(h, cond)
                skips.append(h)
            h = downsample(h)
        h = self.mid_blocks[1](self.attention(self.mid_blocks[0](h, cond)), cond)
        for blocks, upsample in zip(self.up_blocks, (nn.Identity(), *self.upsamplers), strict=True):
            h = upsample(F.interpolate(h, size=skips[-1].shape[-2:]))
            for block in cast(nn.ModuleList, blocks):
                h = block(torch.cat((h, skips.pop()), 1), cond)
        return self.conv_out(h)


class _ResidualBlock(nn.Module):
    """Residual block ``conv(silu((1 + s) norm(conv(silu(norm(h)))) + r)) + shortcut(h)``.

    s and r are linear in the conditioning vector and applied after the norm, which would remove a shift before it.

    References:
        Dhariwal and Nichol 2021, Diffusion Models Beat GANs on Image Synthesis
    """

    shapes = "h (B, C, H, W), cond (B, M) -> (B, D, H, W)"

    def __init__(self, in_channels: int, out_channels: int, cond_dim: int, dropout: float):
        super().__init__()
        self.in_layers = nn.Sequential(
            group_norm(in_channels), nn.SiLU(), nn.Conv2d(in_channels, out_channels, 3, padding=1)
        )
        self.norm = group_norm(out_channels)
        self.cond_proj = nn.Linear(cond_dim, 2 * out_channels)
        self.out_layers = nn.Sequential(
            nn.SiLU(), nn.Dropout(dropout), nn.Conv2d(out_channels, out_channels, 3, padding=1)
        )
        self.shortcut = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, h: Tensor, cond: Tensor) -> Tensor:
        scale, shift = self.cond_proj(cond)[:, :, None, None].chunk(2, 1)
        return self.out_layers((1 + scale) * self.norm(self.in_layers(h)) + shift) + self.shortcut(h)


class _SelfAttention(nn.Module):
    """Residual self-attention over all positions of a feature map."""

    shapes = "h (B, C, H, W) -> (B, C, H, W)"

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm = group_norm(width)
        self.attention = MultiHeadAttention(width, heads, FullAttention())

    def forward(self, h: Tensor) -> Tensor:
        positions = self.norm(h).flatten(2).transpose(1, 2)
        return h + self.attention(*self.attention.project_qkv(positions)).transpose(1, 2).unflatten(2, h.shape[2:])
