"""LSTM over the feature map of a convolution."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from trainer.core.types import PositiveInt
from trainer.models.layers.sequence.recurrent import RecurrentStack


class CNNLSTM(nn.Module):
    """Convolution, max pool, and an LSTM over the feature map as a sequence.

    Gradients vanish over hundreds of pixels; ``forget_bias`` or ``order=rows`` helps.

    Args:
        in_channels: number of image channels C.
        height: image height in pixels.
        width: image width in pixels.
        out_features: number of outputs C.
        channels: output channels of the convolution.
        activation: activation after the convolution: none or relu.
        order: ``pixels`` is one step per pixel in row-major order, ``rows`` one step per row.
        hidden_size: hidden state size.
        forget_bias: initial forget gate bias; None keeps torch's initialization.

    Raises:
        ValueError: an image with a side below 2 pixels.

    References:
        Hochreiter and Schmidhuber 1997, Long Short-Term Memory.
        Shi et al. 2017, An End-to-End Trainable Neural Network for Image-based Sequence Recognition.
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
            raise ValueError(f"the pool halves both sides and needs an image of 2 x 2 or more, not {height} x {width}")
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
        """Reshape a feature map (B, D, H, W) to pixels (B, H * W, D) or rows (B, H, D * W)."""
        if self.order == "pixels":
            return x.flatten(2).transpose(1, 2)
        return x.transpose(1, 2).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        _, end = self.rnn(self.to_sequence(self.trunk(x)), None)
        return self.head(end)
