"""One small convolutional network, with convolutions that look at more than their window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt, Probability
from trainer.core.weight_matrices import HasWeightMatrices, MatricesByName
from trainer.models.layers.attention.attention import FullAttention, MultiHeadAttention
from trainer.models.layers.attention.positional_encoding import make_sinusoidal_encoding
from trainer.models.layers.conv.conv_utils import compute_halved_sizes
from trainer.models.layers.mlp import make_mlp

MAX_PIXELS = 1024
"""Every pixel attends to every other: beyond a map of 32 x 32 a layer takes more than a million shares an image."""


class _SmallCNN(nn.Module):
    """Blocks ``pool(relu(layer(norm(x))))``, the mean of the last map, and a linear head.

    The norm stands in front of the layer, where it leaves no bias idle. A pool halves both sides rounding up, so any
    image fits. ``plain`` convolutions come first.
    """

    def __init__(
        self,
        special: Callable[[int, int], nn.Module],
        in_channels: int,
        out_features: int,
        channels: Sequence[int],
        plain: int,
        dropout: float,
    ):
        super().__init__()
        if len(channels) <= plain:
            raise ValueError(f"channels needs more than the {plain} numbers of the plain convolutions: {channels}")
        blocks: list[nn.Module] = []
        for place, (before, after) in enumerate(pairwise((in_channels, *channels))):
            layer = nn.Conv2d(before, after, 3, padding=1) if place < plain else special(before, after)
            blocks += [nn.BatchNorm2d(before), layer, nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        self.trunk = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels[-1], out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.trunk(x).mean((2, 3))))


class GatedConv(nn.Module):
    """``(w * x + b) sigmoid(g . x + c)``: one gate a pixel, the same for all channels."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1)
        self.gate = nn.Conv2d(before, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.gate(x).sigmoid()


class GatedCNN(_SmallCNN):
    """Spatial attention (Woo et al. 2018) at its smallest, or a gated linear unit (Dauphin et al. 2017) with one gate
    for all channels: ``(w * x + b) sigmoid(g . x + c)`` turns whole pixels off. What is often called an attention
    convolution is this; pixels that attend to each other are ``attention_cnn``.

    Raises ValueError where no convolution is left to be gated.
    """

    shapes = "x (B, C, H, W) -> (B, C)"

    def __init__(
        self,
        in_channels: PositiveInt,
        out_features: PositiveInt,
        channels: Sequence[PositiveInt] = (16, 32, 64),
        plain: NonNegativeInt = 0,
        dropout: Probability = 0.0,
    ):
        super().__init__(GatedConv, in_channels, out_features, channels, plain, dropout)


class AttentionConv(nn.Module):
    """``w * x + b + attention(v x + p)``: pixels gather from all pixels, p says where each stands.

    Raises ValueError for heads that cannot share the channels.
    """

    def __init__(self, before: int, after: int, heads: int):
        super().__init__()
        if after % heads:
            raise ValueError(f"{heads} heads cannot share {after} channels; each of channels must be a multiple of it")
        self.conv = nn.Conv2d(before, after, 3, padding=1)
        self.embed = nn.Conv2d(before, after, 1)
        self.attention = MultiHeadAttention(after, heads, FullAttention())

    def forward(self, x: Tensor) -> Tensor:
        pixels = self.embed(x).flatten(2).transpose(1, 2)  # (B, H * W, D)
        pixels = pixels + make_position_grid(x.shape[2], x.shape[3], pixels.shape[2], x.device).to(pixels.dtype)
        gathered = self.attention(*self.attention.project_qkv(pixels))
        return self.conv(x) + gathered.transpose(1, 2).unflatten(2, x.shape[2:])


def make_position_grid(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Sines and cosines of the row in the first half of the channels, of the column in the other, (H * W, channels)."""
    half = channels // 2
    rows = make_sinusoidal_encoding(0, height, channels - half, device)[:, None].expand(-1, width, -1)
    columns = make_sinusoidal_encoding(0, width, half, device).expand(height, -1, -1)
    return torch.cat((rows, columns), -1).flatten(0, 1)


class AttentionCNN(_SmallCNN):
    """Attention-augmented convolution (Bello et al. 2019): ``w * x + softmax(q k^T / sqrt(D)) v`` over all pixels of
    the map, several heads; added here, side by side in the paper. Sines of row and column say where a pixel stands
    (Vaswani et al. 2017, once for each side), so any image size fits.

    Raises ValueError for a map of so many pixels that they cannot all attend to each other, for heads that cannot
    share the channels, and where no convolution is left to be augmented.
    """

    shapes = "x (B, C, H, W) -> (B, C)"

    def __init__(
        self,
        in_channels: PositiveInt,
        height: PositiveInt,
        width: PositiveInt,
        out_features: PositiveInt,
        channels: Sequence[PositiveInt] = (16, 32, 64),
        plain: NonNegativeInt = 2,
        heads: PositiveInt = 4,
        dropout: Probability = 0.0,
    ):
        rows, columns = compute_halved_sizes(height, width, plain)[-1]
        if rows * columns > MAX_PIXELS:
            raise ValueError(
                f"{rows} x {columns} pixels would attend to each other, and at most {MAX_PIXELS} can; "
                "each plain convolution more quarters them (plain, and a number in front of channels)"
            )
        super().__init__(
            lambda before, after: AttentionConv(before, after, heads),
            *(in_channels, out_features, channels, plain, dropout),
        )


class _KernelBank(nn.Conv2d, HasWeightMatrices):
    """Kernels of a convolution one behind the other, each of which is a map of its own."""

    def __init__(self, before: int, after: int, kernels: int):
        super().__init__(before, kernels * after, 3, padding=1)
        self.kernels = kernels

    def weight_matrices(self) -> MatricesByName:
        return {"weight": self.weight.data.chunk(self.kernels)}


class DynamicConv(nn.Module):
    """``sum_k s_k(x) (w_k * x + b_k)`` with shares ``s = softmax(f(mean x) / temperature)`` of each image.

    Mixing kernels is mixing what they give, at the price of one convolution; a group for each image makes it one call.
    """

    def __init__(self, before: int, after: int, kernels: int, temperature: float):
        super().__init__()
        self.temperature = temperature
        self.conv = _KernelBank(before, after, kernels)
        self.score = make_mlp((before, max(before // 4, 4), kernels), nn.ReLU)

    def compute_kernel_weights(self, x: Tensor) -> Tensor:
        """How much each image (B, C, H, W) takes of each kernel, (B, K)."""
        return (self.score(x.mean((2, 3))) / self.temperature).softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        shares = self.compute_kernel_weights(x)
        kernels = shares.shape[1]
        weight = shares @ self.conv.weight.unflatten(0, (kernels, -1)).flatten(1)
        assert self.conv.bias is not None
        bias = shares @ self.conv.bias.unflatten(0, (kernels, -1))
        side_by_side = x.reshape(1, -1, *x.shape[2:])
        filters = weight.view(-1, x.shape[1], 3, 3)  # (B * D, C, 3, 3)
        return F.conv2d(side_by_side, filters, bias.flatten(), padding=1, groups=len(x)).view(len(x), -1, *x.shape[2:])


class DynamicCNN(_SmallCNN):
    """Dynamic convolution (Chen et al. 2020): ``kernels`` filters are mixed for each image by a softmax of its pooled
    map, ``w(x) = sum_k s_k(x) w_k``. A high temperature shares alike and lets all kernels learn; the paper lowers it
    from 30 to 1 while training, here it stays as given.

    Raises ValueError where no convolution is left to be dynamic.
    """

    shapes = "x (B, C, H, W) -> (B, C)"

    def __init__(
        self,
        in_channels: PositiveInt,
        out_features: PositiveInt,
        channels: Sequence[PositiveInt] = (16, 32, 64),
        plain: NonNegativeInt = 1,
        kernels: PositiveInt = 4,
        temperature: PositiveFloat = 1.0,
        dropout: Probability = 0.0,
    ):
        super().__init__(
            lambda before, after: DynamicConv(before, after, kernels, temperature),
            *(in_channels, out_features, channels, plain, dropout),
        )
