"""A convolution whose map is read as a sequence."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from trainer.core.types import PositiveInt
from trainer.models.layers.sequence.recurrent import RecurrentStack


class CNNLSTM(nn.Module):
    """LSTM (Hochreiter and Schmidhuber 1997) over a convolution's map, as in Shi et al. 2017. ``order=pixels`` takes a
    step for every pixel of the map, row after row, ``order=rows`` one for every row; a step holds all channels of its
    own pixels. Along hundreds of pixels the gradient of the first fades; ``forget_bias`` or rows keep it.

    Raises ValueError for an image that the pool leaves nothing of.
    """

    shapes = "x (B, C, H, W) -> (B, C)"

    def __init__(
        self,
        in_channels: PositiveInt,
        height: PositiveInt,
        width: PositiveInt,
        out_features: PositiveInt,
        channels: PositiveInt = 16,
        activation: Literal["none", "relu"] = "relu",
        order: Literal["pixels", "rows"] = "rows",
        hidden_size: PositiveInt = 32,
        forget_bias: float | None = 1.0,
    ):
        super().__init__()
        if min(height, width) < 2:
            raise ValueError(f"the pool halves both sides, and leaves nothing of a {height} x {width} image")
        self.trunk = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1),
            nn.ReLU() if activation == "relu" else nn.Identity(),
            nn.MaxPool2d(2),
        )
        self.order = order
        features = channels if order == "pixels" else channels * (width // 2)
        self.rnn = RecurrentStack("lstm", features, hidden_size, 1, False, 0.0, "default", forget_bias)
        self.head = nn.Linear(hidden_size, out_features)

    def to_sequence(self, x: Tensor) -> Tensor:
        """The map (B, D, H, W) as a sequence: (B, H * W, D) of pixels, or (B, H, D * W) of rows."""
        if self.order == "pixels":
            return x.flatten(2).transpose(1, 2)
        return x.transpose(1, 2).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        _, end = self.rnn(self.to_sequence(self.trunk(x)), None)
        return self.head(end)
