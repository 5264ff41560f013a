"""Gated, attention-augmented and dynamic convolutions in a common small CNN."""

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
"""Largest feature map with global self-attention; 32 x 32 pixels need a million attention weights per image."""


class _SmallCNN(nn.Module):
    """CNN of blocks ``pool(relu(layer(norm(x))))`` with global average pooling and a linear head.

    The norm precedes the layer, so that no bias is redundant. A pool halves both sides rounding up, so that every image
    size is valid.

    Args:
        special: factory of the special convolution, given input and output channels.
        plain: number of plain convolutions before the special ones.
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
            raise ValueError(f"channels needs more than {plain} entries, the number of plain convolutions: {channels}")
        blocks: list[nn.Module] = []
        for index, (width_in, width_out) in enumerate(pairwise((in_channels, *channels))):
            layer = nn.Conv2d(width_in, width_out, 3, padding=1) if index < plain else special(width_in, width_out)
            blocks += [nn.BatchNorm2d(width_in), layer, nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        self.trunk = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels[-1], out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.trunk(x).mean((2, 3))))


class GatedConv(nn.Module):
    """Convolution with a spatial gate, ``(w * x + b) sigmoid(g . x + c)``.

    There is one gate per pixel, shared by all channels.

    Args:
        in_channels: number of input channels C.
        out_channels: number of output channels D.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.gate = nn.Conv2d(in_channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.gate(x).sigmoid()


class GatedCNN(_SmallCNN):
    """CNN with spatially gated convolutions ``(w * x + b) sigmoid(g . x + c)``.

    A minimal form of spatial attention, or a gated linear unit with one gate for all channels. It is often called
    attention convolution; self-attention between pixels is ``attention_cnn``.

    Args:
        in_channels: number of image channels C.
        out_features: number of outputs C.
        channels: output channels of each convolution, which is followed by a pooling that halves the resolution.
        plain: number of plain convolutions before the gated ones.
        dropout: dropout probability before the head.

    Raises:
        ValueError: no convolution left to gate.

    References:
        Dauphin et al. 2017, Language Modeling with Gated Convolutional Networks.
        Woo et al. 2018, CBAM: Convolutional Block Attention Module.
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
    """Convolution plus self-attention over all pixels, ``w * x + b + attention(v x + p)`` with positional encodings p.

    Args:
        in_channels: number of input channels C.
        out_channels: number of output channels D.
        heads: number of attention heads; divides ``out_channels``.

    Raises:
        ValueError: output channels that ``heads`` does not divide.
    """

    def __init__(self, in_channels: int, out_channels: int, heads: int):
        super().__init__()
        if out_channels % heads:
            raise ValueError(
                f"{out_channels} channels are not divisible by {heads} heads; each of channels must be a multiple of it"
            )
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.embed = nn.Conv2d(in_channels, out_channels, 1)
        self.attention = MultiHeadAttention(out_channels, heads, FullAttention())

    def forward(self, x: Tensor) -> Tensor:
        pixels = self.embed(x).flatten(2).transpose(1, 2)  # (B, H * W, D)
        pixels = pixels + make_position_grid(x.shape[2], x.shape[3], pixels.shape[2], x.device).to(pixels.dtype)
        attended = self.attention(*self.attention.project_qkv(pixels))
        return self.conv(x) + attended.transpose(1, 2).unflatten(2, x.shape[2:])


def make_position_grid(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Compute 2D sinusoidal encodings, (H * W, channels).

    The first half of the channels encodes the row, the second the column.

    Args:
        height: number of rows H.
        width: number of columns W.
        channels: dimension of the encoding.
        device: device of the result.
    """
    half = channels // 2
    rows = make_sinusoidal_encoding(0, height, channels - half, device)[:, None].expand(-1, width, -1)
    columns = make_sinusoidal_encoding(0, width, half, device).expand(height, -1, -1)
    return torch.cat((rows, columns), -1).flatten(0, 1)


class AttentionCNN(_SmallCNN):
    """CNN with attention-augmented convolutions ``w * x + softmax(q k^T / sqrt(D)) v`` over all pixels.

    Convolution and multi-head attention are added here; the paper concatenates them. Sinusoidal encodings of row and
    column allow every image size.

    Args:
        in_channels: number of image channels C.
        height: image height in pixels.
        width: image width in pixels.
        out_features: number of outputs C.
        channels: output channels of each convolution, which is followed by a pooling that halves the resolution.
        plain: number of plain convolutions before the augmented ones.
        heads: number of attention heads; divides the channels.
        dropout: dropout probability before the head.

    Raises:
        ValueError: too many pixels for self-attention, channels that ``heads`` does not divide, or no convolution left
            to augment.

    References:
        Bello et al. 2019, Attention Augmented Convolutional Networks.
        Vaswani et al. 2017, Attention Is All You Need, section 3.5 (encodings).
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
                f"self-attention over {rows} x {columns} pixels; at most {MAX_PIXELS} are allowed. Each further plain"
                " convolution divides them by 4: raise plain, and prepend a number to channels"
            )
        super().__init__(
            lambda width_in, width_out: AttentionConv(width_in, width_out, heads),
            *(in_channels, out_features, channels, plain, dropout),
        )


class _KernelBank(nn.Conv2d, HasWeightMatrices):
    """Convolution that stores several kernels stacked, each a weight matrix of its own."""

    def __init__(self, in_channels: int, out_channels: int, kernels: int):
        super().__init__(in_channels, kernels * out_channels, 3, padding=1)
        self.kernels = kernels

    def weight_matrices(self) -> MatricesByName:
        return {"weight": self.weight.data.chunk(self.kernels)}


class DynamicConv(nn.Module):
    """Dynamic convolution ``sum_k s_k(x) (w_k * x + b_k)``.

    The weights are ``s = softmax(f(mean x) / temperature)`` per image. Mixing the kernels equals mixing their outputs,
    at the cost of one convolution; one group per image makes it a single call.

    Args:
        in_channels: number of input channels C.
        out_channels: number of output channels D.
        kernels: number of kernels K.
        temperature: softmax temperature of the kernel weights.
    """

    def __init__(self, in_channels: int, out_channels: int, kernels: int, temperature: float):
        super().__init__()
        self.temperature = temperature
        self.conv = _KernelBank(in_channels, out_channels, kernels)
        self.score = make_mlp((in_channels, max(in_channels // 4, 4), kernels), nn.ReLU)

    def compute_kernel_weights(self, x: Tensor) -> Tensor:
        """Compute the kernel weights (B, K) of images (B, C, H, W)."""
        return (self.score(x.mean((2, 3))) / self.temperature).softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        kernel_weights = self.compute_kernel_weights(x)
        kernels = kernel_weights.shape[1]
        if torch.compiler.is_exporting():  # the number of groups of a convolution is fixed in an exported program
            outputs = self.conv(x).unflatten(1, (kernels, -1))  # (B, K, D, H, W)
            return (outputs * kernel_weights[:, :, None, None, None]).sum(1)
        weight = kernel_weights @ self.conv.weight.unflatten(0, (kernels, -1)).flatten(1)
        assert self.conv.bias is not None
        bias = kernel_weights @ self.conv.bias.unflatten(0, (kernels, -1))
        grouped = x.reshape(1, -1, *x.shape[2:])
        filters = weight.view(-1, x.shape[1], 3, 3)  # (B * D, C, 3, 3)
        outputs = F.conv2d(grouped, filters, bias.flatten(), padding=1, groups=x.shape[0])
        return outputs.view(x.shape[0], -1, *x.shape[2:])


class DynamicCNN(_SmallCNN):
    """CNN with dynamic convolutions ``w(x) = sum_k s_k(x) w_k``, whose kernels are mixed per image.

    Args:
        in_channels: number of image channels C.
        out_features: number of outputs C.
        channels: output channels of each convolution, which is followed by a pooling that halves the resolution.
        plain: number of plain convolutions before the dynamic ones.
        kernels: number of kernels K.
        temperature: softmax temperature of the mixing weights. A high one is nearly uniform and trains all kernels; the
            paper anneals it from 30 to 1, here it is constant.
        dropout: dropout probability before the head.

    Raises:
        ValueError: no convolution left to be dynamic.

    References:
        Chen et al. 2020, Dynamic Convolution: Attention over Convolution Kernels
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
            lambda width_in, width_out: DynamicConv(width_in, width_out, kernels, temperature),
            *(in_channels, out_features, channels, plain, dropout),
        )
