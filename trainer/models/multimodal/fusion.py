"""Multimodal fusion: one encoder per input and a fusion layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.attention.attention import FullAttention, MultiHeadAttention
from trainer.models.layers.sequence.recurrent import RecurrentStack
from trainer.models.layers.sequence.sequence_pool import SequencePool
from trainer.utils.choices import get_choice


class Multimodal(nn.Module):
    """Multimodal network with encoders chosen by the number of input dimensions, a fusion layer and an MLP head.

    Encoders: (F) linear, (T, F) recurrent, (C, H, W) convolutions that each halve the sides, (T, C, H, W) convolutions
    followed by a recurrent network. The final step or the flattened feature map is projected to v_i of size ``width``.
    Fusion:

    - ``concat``: ``[v_1 .. v_n]``;
    - ``gate`` (Arevalo et al.): ``sum_i sigmoid(W_i [v_1 .. v_n] + b_i) * tanh(v_i)``;
    - ``cross_attention`` (Lu et al.): concatenation, after the steps or positions of each input, projected to
    ``width``, have attended to those of all other inputs (a single input attends to itself).

    Without ``hidden`` layers ``concat`` is additive, ``f_1(x_1) + .. + f_n(x_n)``; the others have multiplicative
    interactions.

    Args:
        input_shapes: shape of each input, without the batch dimension.
        out_features: number of outputs C.
        cell: recurrent cell of the sequence encoders: rnn, gru or lstm.
        hidden_size: hidden state size of sequence encoders, hidden size of tabular encoders.
        channels: output channels of each convolution of the image encoder; each halves the resolution.
        fusion: concat, gate (gating between modalities) or cross_attention (over steps and positions).
        width: dimension of the vector of each input.
        heads: attention heads of ``cross_attention``; must divide ``width``.
        hidden: hidden layer sizes of the head.
        dropout: dropout probability after each hidden layer.

    Raises:
        ValueError: an input with other dimensions, an image too small for the convolutions, or a width that ``heads``
            does not divide.

    References:
        Arevalo et al. 2017, Gated Multimodal Units for Information Fusion, section 3.1.
        Lu et al. 2019, ViLBERT.
    """

    shapes = "**inputs (B, ...) -> (B, C)"

    def __init__(
        self,
        input_shapes: Mapping[str, list[PositiveInt]],
        out_features: PositiveInt,
        cell: Literal["rnn", "lstm", "gru"] = "gru",
        hidden_size: PositiveInt = 64,
        channels: Sequence[PositiveInt] = (16, 32),
        fusion: Literal["concat", "gate", "cross_attention"] = "concat",
        width: PositiveInt = 32,
        heads: PositiveInt = 4,
        hidden: Sequence[PositiveInt] = (64,),
        dropout: Probability = 0.0,
    ):
        super().__init__()
        for name, shape in input_shapes.items():
            if len(shape) not in ENCODERS:
                dims = f"{len(shape)} dims a row, {tuple(shape)}"
                raise ValueError(f"{name} has {dims}; (F), (T, F), (C, H, W) and (T, C, H, W) can be encoded")
        self.input_names = tuple(input_shapes)
        encoders = [ENCODERS[len(shape)](shape, cell, hidden_size, channels) for shape in input_shapes.values()]
        self.encoders = nn.ModuleList(encoders)
        self.fusion = get_choice("fusion", fusion, FUSIONS)(encoders, width, heads)
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise((self.fusion.out_features, *hidden)):
            layers += [nn.Linear(width_in, width_out), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
        self.head = nn.Sequential(*layers, nn.Linear((self.fusion.out_features, *hidden)[-1], out_features))

    def forward(self, **inputs: Tensor) -> Tensor:
        features = [encode(inputs[name]) for name, encode in zip(self.input_names, self.encoders, strict=True)]
        return self.head(self.fusion(features))


class Encoder(nn.Module):
    """Base class of encoders, which are created as ``Encoder(shape, cell, hidden_size, channels)``.

    ``shape`` is the shape of the input without the batch dimension. Sequence encoders use ``cell`` and ``hidden_size``,
    image encoders ``channels``, video encoders all three, and vector encoders ``hidden_size`` as output features.

    Attributes:
        pool_kind: pooling of the steps to one vector.
        steps: number of output steps N.
        width: output features D.
    """

    shapes = "x (B, ...) -> steps (B, N, D)"

    pool_kind: ClassVar[Literal["last", "flatten"]] = "flatten"
    steps: int
    width: int


class VectorEncoder(Encoder):
    """Linear encoder with ReLU for feature vectors."""

    shapes = "x (B, F) -> (B, 1, D)"

    def __init__(self, shape: list[int], cell: str, hidden_size: int, channels: list[int]):
        super().__init__()
        self.steps, self.width = 1, hidden_size
        self.linear = nn.Linear(shape[0], hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).relu()[:, None]


class SequenceEncoder(Encoder):
    """Recurrent encoder for sequences."""

    shapes = "x (B, T, F) -> (B, T, D)"

    pool_kind = "last"

    def __init__(self, shape: list[int], cell: Literal["rnn", "lstm", "gru"], hidden_size: int, channels: list[int]):
        super().__init__()
        self.steps, self.width = shape[0], hidden_size
        self.rnn = RecurrentStack(cell, shape[1], hidden_size, 1, False, 0.0, "default", None)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x, None)[0]


class ImageEncoder(Encoder):
    """Convolutional encoder for images."""

    shapes = "x (B, C, H, W) -> (B, N, D)"

    def __init__(self, shape: list[int], cell: str, hidden_size: int, channels: list[int]):
        super().__init__()
        height, width = (side >> len(channels) for side in shape[1:])
        if min(height, width) < 1:
            raise ValueError(f"a {shape[1]} x {shape[2]} image has no pixels left after {len(channels)} halvings")
        widths = (shape[0], *channels)
        self.steps, self.width = height * width, widths[-1]
        layers = ((nn.Conv2d(n, m, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)) for n, m in pairwise(widths))
        self.layers = nn.Sequential(*(layer for group in layers for layer in group))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten(2).transpose(1, 2)


class VideoEncoder(Encoder):
    """Convolutional encoder per frame followed by a recurrent network."""

    shapes = "x (B, T, C, H, W) -> (B, T, D)"

    pool_kind = "last"

    def __init__(self, shape: list[int], cell: Literal["rnn", "lstm", "gru"], hidden_size: int, channels: list[int]):
        super().__init__()
        self.image_encoder = ImageEncoder(shape[1:], cell, hidden_size, channels)
        self.sequence_encoder = SequenceEncoder(
            [shape[0], self.image_encoder.steps * self.image_encoder.width], cell, hidden_size, channels
        )
        self.steps, self.width = self.sequence_encoder.steps, self.sequence_encoder.width

    def forward(self, x: Tensor) -> Tensor:
        return self.sequence_encoder(self.image_encoder(x.flatten(0, 1)).flatten(1).unflatten(0, x.shape[:2]))


class ConcatFusion(nn.Module):
    """Concatenation of the pooled and projected inputs.

    Args:
        encoders: encoders of the inputs.
        width: output features per input.
        heads: attention heads; used by cross-attention only.
        step_width: features per step D_i, if they differ from those of the encoders.

    Shape:
        features: a list of (B, N_i, D_i), one for each input.
        output: (B, ``out_features``), with ``len(encoders) * width`` features.
    """

    def __init__(self, encoders: list[Encoder], width: int, heads: int, step_width: int | None = None):
        super().__init__()
        pools = [SequencePool(encoder.pool_kind, step_width or encoder.width, encoder.steps) for encoder in encoders]
        self.pools = nn.ModuleList(pools)
        self.projections = nn.ModuleList(nn.Linear(pool.out_features, width) for pool in pools)
        self.out_features = len(encoders) * width

    def forward(self, features: list[Tensor]) -> Tensor:
        inputs = zip(self.projections, self.pools, features, strict=True)
        return torch.cat([project(pool(steps, steps[:, -1], None)) for project, pool, steps in inputs], -1)


class GatedFusion(ConcatFusion):
    """Gated fusion ``sum_i sigmoid(W_i [v_1 .. v_n] + b_i) * tanh(v_i)`` to (B, width)."""

    def __init__(self, encoders: list[Encoder], width: int, heads: int):
        super().__init__(encoders, width, heads)
        self.gates = nn.Linear(self.out_features, self.out_features)
        self.out_features = width

    def forward(self, features: list[Tensor]) -> Tensor:
        vectors = super().forward(features)
        return (self.gates(vectors).sigmoid() * vectors.tanh()).unflatten(1, (-1, self.out_features)).sum(1)


class CrossAttentionFusion(ConcatFusion):
    """Concatenation after cross-attention between the inputs, to (B, n * width)."""

    def __init__(self, encoders: list[Encoder], width: int, heads: int):
        super().__init__(encoders, width, heads, step_width=width)
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.input_projections = nn.ModuleList(nn.Linear(encoder.width, width) for encoder in encoders)
        self.attentions = nn.ModuleList(MultiHeadAttention(width, heads, FullAttention()) for _ in encoders)

    def forward(self, features: list[Tensor]) -> Tensor:
        steps = [project(x) for project, x in zip(self.input_projections, features, strict=True)]
        attended = []
        for i, attention in enumerate(cast("Iterable[MultiHeadAttention]", self.attentions)):
            others = torch.cat(steps[:i] + steps[i + 1 :] or steps, 1)
            attended.append(steps[i] + attention(attention.project_q(steps[i]), *attention.project_kv(others)))
        return super().forward(attended)


ENCODERS: dict[int, type[Encoder]] = {1: VectorEncoder, 2: SequenceEncoder, 3: ImageEncoder, 4: VideoEncoder}
FUSIONS: dict[str, type[ConcatFusion]] = {
    "concat": ConcatFusion,
    "gate": GatedFusion,
    "cross_attention": CrossAttentionFusion,
}
