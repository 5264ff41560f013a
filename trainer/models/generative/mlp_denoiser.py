"""What of a point, or of a row of a table, is noise: a perceptron that is told how much of it there is."""

from __future__ import annotations

from torch import Tensor, nn

from trainer.core.types import PositiveInt
from trainer.models.layers.generative.time_embedding import TimeEmbedding


class Denoiser(nn.Module):
    """Residual blocks between two linear layers: ``h + W_2 silu(W_1 h + W_m m)``, where m knows the ``time``, from 0 to
    1, and the class. The last layer begins at zero: an untrained denoiser says nothing, whatever it is shown.
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
        self.moment = TimeEmbedding(width, num_classes)
        self.enter = nn.Linear(in_features, width)
        self.blocks = nn.ModuleList(_ResidualBlock(width) for _ in range(blocks))
        self.leave = nn.Linear(width, in_features)
        for silenced in self.leave.parameters():
            nn.init.zeros_(silenced)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        moment = self.moment(time, label)
        h = self.enter(x)
        for block in self.blocks:
            h = block(h, moment)
        return self.leave(h)


class _ResidualBlock(nn.Module):
    shapes = "h (B, D), moment (B, D) -> (B, D)"

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.told = nn.Linear(width, width, bias=False)
        self.silu = nn.SiLU()
        self.second = nn.Linear(width, width)

    def forward(self, h: Tensor, moment: Tensor) -> Tensor:
        return h + self.second(self.silu(self.first(h) + self.told(moment)))
