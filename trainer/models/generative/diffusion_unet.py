"""What of a picture is noise: a U-Net that is told how much of it there is."""

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
    """Ho et al. 2020: a U-Net (Ronneberger et al. 2015) of residual blocks with group norm, whose maps the ``time``,
    from 0 to 1, and the class scale and shift. All of ``widths`` but the first come after a halving of the picture,
    rounding up; on the way back it takes the size it had, so any picture fits. ``heads`` of attention at the bottom let
    every place see every other. The last layer begins at zero: an untrained U-Net says nothing, whatever it is shown.
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
            raise ValueError("widths needs at least one number, one for each size of the picture")
        if heads and widths[-1] % heads:
            raise ValueError(f"heads: {heads} given; the last of widths, {widths[-1]}, is no multiple of it")
        self.num_classes = num_classes
        told = 4 * widths[0]
        self.moment = TimeEmbedding(told, num_classes)

        def level(before: int, skip: int, width: int) -> nn.ModuleList:
            befores = [before, *[width] * (blocks - 1)]
            return nn.ModuleList(_ResidualBlock(wide + skip, width, told, dropout) for wide in befores)

        first, last = widths[0], widths[-1]
        self.enter = nn.Conv2d(in_channels, first, 3, padding=1)
        self.downs = nn.ModuleList(level(before, 0, width) for before, width in pairwise((first, *widths)))
        self.shrink = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for width in widths[:-1])
        self.bottom = nn.ModuleList(_ResidualBlock(last, last, told, dropout) for _ in range(2))
        self.attention = _SelfAttention(last, heads) if heads else nn.Identity()
        self.ups = nn.ModuleList(level(before, width, width) for before, width in pairwise((last, *reversed(widths))))
        self.grow = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for width in reversed(widths[1:]))
        self.leave = nn.Sequential(group_norm(first), nn.SiLU(), nn.Conv2d(first, in_channels, 3, padding=1))
        for silenced in self.leave[-1].parameters():
            nn.init.zeros_(silenced)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        moment = self.moment(time, label)
        h, skips = self.enter(x), []
        for blocks, shrink in zip(self.downs, (*self.shrink, nn.Identity()), strict=True):
            for block in cast(nn.ModuleList, blocks):
                h = block(h, moment)
                skips.append(h)
            h = shrink(h)
        h = self.bottom[1](self.attention(self.bottom[0](h, moment)), moment)
        for blocks, grow in zip(self.ups, (nn.Identity(), *self.grow), strict=True):
            h = grow(F.interpolate(h, size=skips[-1].shape[-2:]))
            for block in cast(nn.ModuleList, blocks):
                h = block(torch.cat((h, skips.pop()), 1), moment)
        return self.leave(h)


class _ResidualBlock(nn.Module):
    """``conv(silu((1 + s) norm(conv(silu(norm(h)))) + r)) + shortcut(h)``, s and r linear in the moment (Dhariwal and
    Nichol 2021): what is added before a norm, it may take off again.
    """

    shapes = "h (B, C, H, W), moment (B, M) -> (B, D, H, W)"

    def __init__(self, before: int, after: int, told: int, dropout: float):
        super().__init__()
        self.first = nn.Sequential(group_norm(before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.norm = group_norm(after)
        self.told = nn.Linear(told, 2 * after)
        self.second = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), nn.Conv2d(after, after, 3, padding=1))
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, h: Tensor, moment: Tensor) -> Tensor:
        scale, shift = self.told(moment)[:, :, None, None].chunk(2, 1)
        return self.second((1 + scale) * self.norm(self.first(h)) + shift) + self.shortcut(h)


class _SelfAttention(nn.Module):
    shapes = "h (B, C, H, W) -> (B, C, H, W), each place plus what it gathers from all."

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm = group_norm(width)
        self.attention = MultiHeadAttention(width, heads, FullAttention())

    def forward(self, h: Tensor) -> Tensor:
        places = self.norm(h).flatten(2).transpose(1, 2)
        return h + self.attention(*self.attention.project_qkv(places)).transpose(1, 2).unflatten(2, h.shape[2:])
