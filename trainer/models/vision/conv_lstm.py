"""A recurrent network whose state is a map: pictures over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability


class ConvLSTMLayer(nn.Module):
    """Shi et al. 2015, equation 3, without the products of gates and memory.

    ``i, f, g, o = w * x_t + u * h_{t-1} + b``, ``c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)``,
    ``h_t = sigmoid(o) tanh(c_t)``, from zeros. On maps of one pixel it is an LSTM.
    """

    def __init__(self, before: int, after: int, kernel: int):
        super().__init__()
        self.enter = nn.Conv2d(before, 4 * after, kernel, padding=kernel // 2)
        self.recall = nn.Conv2d(after, 4 * after, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """All states (B, T, D, H, W) over the steps x (B, T, C, H, W)."""
        entered = self.enter(x.flatten(0, 1)).unflatten(0, x.shape[:2])  # all steps in one call
        state = memory = torch.zeros_like(entered[:, 0].chunk(4, 1)[0])
        states = []
        for gates in entered.unbind(1):
            i, f, g, o = (gates + self.recall(state)).chunk(4, 1)
            memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
            state = o.sigmoid() * memory.tanh()
            states.append(state)
        return torch.stack(states, 1)


class ConvLSTM(nn.Module):
    """Shi et al. 2015. Layers of LSTMs whose products of matrices are convolutions, so that a state is a map and what
    moves in the pictures moves in it. The mean of the last layer's last map goes to a linear head. Any number of
    steps and any size of picture fit.

    Raises ValueError for a kernel without a middle, and for no layers.
    """

    shapes = "x (B, T, C, H, W) -> (B, C)"

    def __init__(
        self,
        in_channels: PositiveInt,
        out_features: PositiveInt,
        channels: Sequence[PositiveInt] = (16,),
        kernel: PositiveInt = 3,
        dropout: Probability = 0.0,
    ):
        super().__init__()
        if not channels:
            raise ValueError("channels needs at least one number, one for each layer")
        if kernel % 2 == 0:
            raise ValueError(f"kernel {kernel} has no middle; {kernel - 1} and {kernel + 1} have")
        self.layers = nn.Sequential(*(ConvLSTMLayer(*pair, kernel) for pair in pairwise((in_channels, *channels))))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels[-1], out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.layers(x)[:, -1].mean((2, 3))))
