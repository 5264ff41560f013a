"""MLP denoiser for diffusion and flow matching on points and tables."""

from __future__ import annotations

from torch import Tensor, nn

from trainer.core.types import PositiveInt
from trainer.models.layers.generative.time_embedding import TimeEmbedding


class Denoiser(nn.Module):
    """Residual MLP denoiser with blocks ``h + W_2 silu(W_1 h + W_m m)``.

    m embeds the time in [0, 1] and the class label. The last layer is zero-initialized, so that an untrained network
    outputs zero.

    Args:
        in_features: number of input features F.
        width: hidden layer size D.
        blocks: residual blocks of two layers each.
        num_classes: number of classes for conditioning; None: unconditional.
    """

    shapes = "x (B, F), time (B), label (B) -> (B, F)"

    def __init__(
        self,
        in_features: PositiveInt,
        width: PositiveInt = 128,
        blocks: PositiveInt = 3,
        num_classes: PositiveInt | None = None,
    ):
        super().__init__()
        self.num_classes = num_classes
        self.time_embedding = TimeEmbedding(width, num_classes)
        self.in_proj = nn.Linear(in_features, width)
        self.blocks = nn.ModuleList(_ResidualBlock(width) for _ in range(blocks))
        self.out_proj = nn.Linear(width, in_features)
        for parameter in self.out_proj.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        cond = self.time_embedding(time, label)
        h = self.in_proj(x)
        for block in self.blocks:
            h = block(h, cond)
        return self.out_proj(h)


class _ResidualBlock(nn.Module):
    """Residual MLP block conditioned on the time embedding."""

    shapes = "h (B, D), cond (B, D) -> (B, D)"

    def __init__(self, width: int):
        super().__init__()
        self.linear1 = nn.Linear(width, width)
        self.cond_proj = nn.Linear(width, width, bias=False)
        self.silu = nn.SiLU()
        self.linear2 = nn.Linear(width, width)

    def forward(self, h: Tensor, cond: Tensor) -> Tensor:
        return h + self.linear2(self.silu(self.linear1(h) + self.cond_proj(cond)))
