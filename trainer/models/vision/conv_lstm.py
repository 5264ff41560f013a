"""Convolutional LSTM for video."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.sequence.step_scan import State, scan_steps


class ConvLSTMLayer(nn.Module):
    """Convolutional LSTM layer without peephole connections.

    ``i, f, g, o = w * x_t + u * h_{t-1} + b``, ``c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)``, ``h_t = sigmoid(o)
    tanh(c_t)``, from zero states. On 1 x 1 feature maps it is an LSTM.

    Args:
        in_channels: number of input channels C.
        out_channels: number of output channels D.
        kernel: odd kernel size.

    References:
        Shi et al. 2015, Convolutional LSTM Network, eq. 3
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int):
        super().__init__()
        self.input_conv = nn.Conv2d(in_channels, 4 * out_channels, kernel, padding=kernel // 2)
        self.hidden_conv = nn.Conv2d(out_channels, 4 * out_channels, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the hidden states (B, T, D, H, W) of x (B, T, C, H, W)."""
        input_gates = self.input_conv(x.flatten(0, 1)).unflatten(0, x.shape[:2])  # all steps in one call
        zeros = torch.zeros_like(input_gates[:, 0].chunk(4, 1)[0])
        _, (states,) = scan_steps(self._update_state, (zeros, zeros), input_gates, dim=1)
        return states

    def _update_state(self, state: State, input_gates: Tensor) -> tuple[State, State]:
        """Return the next hidden state and cell (B, D, H, W) for the gates (B, 4 D, H, W) of a step, and the output."""
        hidden, cell = state
        i, f, g, o = (input_gates + self.hidden_conv(hidden)).chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        return (hidden, cell), (hidden,)


class ConvLSTM(nn.Module):
    """Stacked convolutional LSTM with global average pooling of the last state and a linear head.

    Any number of steps and any image size are valid.

    Args:
        in_channels: number of image channels C.
        out_features: number of outputs C.
        channels: hidden channels of each layer.
        kernel: odd kernel size.
        dropout: dropout probability before the head.

    Raises:
        ValueError: an even kernel, or no layers.

    References:
        Shi et al. 2015, Convolutional LSTM Network
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
            raise ValueError("channels needs at least one entry, one per layer")
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, such as {kernel - 1} or {kernel + 1}; got {kernel}")
        self.layers = nn.Sequential(*(ConvLSTMLayer(*pair, kernel) for pair in pairwise((in_channels, *channels))))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels[-1], out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.layers(x)[:, -1].mean((2, 3))))
