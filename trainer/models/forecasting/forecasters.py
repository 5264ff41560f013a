"""Forecasts of all coming steps at once: recurrent, linear, or by a Transformer, each able to ignore the level.

What a series does next rarely depends on its level, and the level of a test window may be one that training never
saw. ``normalize`` takes it out of every window and channel and puts it back into the forecast.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Unpack

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.attention.transformer import BlockOptions, TransformerConfig, TransformerStack
from trainer.models.layers.sequence.instance_norm import compute_loc_and_scale


class GRUForecaster(nn.Module):
    """GRU: Cho et al. 2014. ``y = W h_T + b``: the last layer's state after the last step gives the whole horizon.
    ``segment`` steps are read at once (segments: Lin et al. 2023), which makes a long history short. With
    ``channel_independent`` every channel is a row of its own under the same weights (Nie et al. 2023), which
    overfits less where channels are few and related loosely.
    """

    shapes = "x (B, T, F) -> (B, P, F)"

    def __init__(
        self,
        in_features: PositiveInt,
        seq_len: PositiveInt,
        horizon: PositiveInt,
        hidden_size: PositiveInt = 64,
        num_layers: PositiveInt = 1,
        dropout: Probability = 0.0,
        segment: PositiveInt = 12,
        normalize: Literal["none", "last", "standard"] = "last",
        channel_independent: bool = True,
    ):
        super().__init__()
        if seq_len < segment:
            raise ValueError(f"segment: {segment} steps do not fit a history of {seq_len}")
        self.channels = 1 if channel_independent else in_features
        self.horizon = horizon
        self.segment = segment
        self.normalize = normalize
        self.gru = nn.GRU(
            self.channels * segment,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, horizon * self.channels)

    def forward(self, x: Tensor) -> Tensor:
        rows, _, features = x.shape
        level, spread = compute_loc_and_scale(x, self.normalize)
        x = (x - level) / spread
        # Rows of their own for channels, unless the network reads them together: (B * groups, T, channels).
        x = x.transpose(1, 2).reshape(-1, self.channels, x.shape[1]).transpose(1, 2)
        _, state = self.gru(self._split_segments(x))  # (layers, B * groups, H)
        y = self.head(self.dropout(state[-1])).view(-1, self.horizon, self.channels)
        y = y.transpose(1, 2).reshape(rows, features, self.horizon).transpose(1, 2)
        return y * spread + level

    def _split_segments(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T / segment, segment * C); steps that fill no segment are left out at the far end."""
        steps = x.shape[1] // self.segment
        return x[:, x.shape[1] - steps * self.segment :].reshape(len(x), steps, -1)


class DLinear(nn.Module):
    """Zeng et al. 2023. ``y = A m + B (x - m)`` where m is the moving average of the history, its ends repeated: two
    linear maps from T steps to P, shared by all channels. With ``moving_average`` 1 it is one map of the history.
    """

    shapes = "x (B, T, F) -> (B, P, F)"

    def __init__(
        self,
        seq_len: PositiveInt,
        horizon: PositiveInt,
        moving_average: PositiveInt = 25,
        normalize: Literal["none", "last", "standard"] = "last",
    ):
        super().__init__()
        self.moving_average = moving_average
        self.normalize = normalize
        self.trend = nn.Linear(seq_len, horizon)
        self.rest = nn.Linear(seq_len, horizon)
        for layer in (self.trend, self.rest):  # begin as the mean of the history rather than as noise
            nn.init.constant_(layer.weight, 1 / seq_len)

    def forward(self, x: Tensor) -> Tensor:
        level, spread = compute_loc_and_scale(x, self.normalize)
        x = ((x - level) / spread).transpose(1, 2)  # (B, F, T)
        before = (self.moving_average - 1) // 2
        padded = F.pad(x, (before, self.moving_average - 1 - before), mode="replicate")
        smooth = F.avg_pool1d(padded, self.moving_average, stride=1)
        y = self.trend(smooth) + self.rest(x - smooth)
        return y.transpose(1, 2) * spread + level


class PatchTransformer(nn.Module):
    """Nie et al. 2023 (PatchTST). Every channel is a row of its own under the same weights, cut into patches of
    ``patch`` steps that begin ``stride`` apart: ``h = Encoder(W patch_i + e_i)`` with a learned position e, and one
    linear map of all patches side by side gives the whole horizon. Attention sees patches, so its cost falls by
    ``stride`` squared.
    """

    shapes = "x (B, T, F) -> (B, P, F)"

    option_defaults: ClassVar[BlockOptions] = {
        "width": 32,
        "heads": 4,
        "hidden": 128,
        "activation": "gelu",
        "norm": "pre",
        "dropout": 0.3,
        "positions": "learned",
        "attention": "full",
        "attention_size": 8,
    }

    def __init__(
        self,
        seq_len: PositiveInt,
        horizon: PositiveInt,
        patch: PositiveInt = 16,
        stride: PositiveInt = 8,
        layers: PositiveInt = 2,
        normalize: Literal["none", "last", "standard"] = "standard",
        **blocks: Unpack[BlockOptions],
    ):
        super().__init__()
        if seq_len < patch:
            raise ValueError(f"patch: {patch} steps do not fit a history of {seq_len}")
        self.patch = patch
        self.stride = stride
        self.normalize = normalize
        patches = (seq_len - patch) // stride + 1
        plan = TransformerConfig(seq_len=patches, **(self.option_defaults | blocks))
        self.embed = nn.Linear(patch, plan.width)
        self.encoder = TransformerStack(plan, layers)
        self.dropout = nn.Dropout(plan.dropout)
        self.head = nn.Linear(patches * plan.width, horizon)

    def forward(self, x: Tensor) -> Tensor:
        rows, _, features = x.shape
        level, spread = compute_loc_and_scale(x, self.normalize)
        x = ((x - level) / spread).transpose(1, 2).flatten(0, 1)  # (B * F, T)
        steps, _ = self.encoder(self.embed(self._split_patches(x)))
        y = self.head(self.dropout(steps.flatten(1))).view(rows, features, -1)
        return y.transpose(1, 2) * spread + level

    def _split_patches(self, x: Tensor) -> Tensor:
        """(N, T) -> (N, patches, patch); the last patch ends now, steps that fill none are left out at the far end."""
        return x[:, (x.shape[1] - self.patch) % self.stride :].unfold(1, self.patch, self.stride)
