"""GRU, linear and Transformer forecasters that predict the full horizon directly.

Forecasts rarely depend on the level of a series, and test windows may have levels outside the training range.
``normalize`` removes the level of each window and channel and adds it back to the forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Unpack

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.attention.transformer import BlockOptions, TransformerConfig, TransformerStack
from trainer.models.layers.sequence.instance_norm import compute_loc_and_scale
from trainer.models.layers.sequence.recurrent import apply_rnn


class GRUForecaster(nn.Module):
    """GRU forecaster ``y = W h_T + b``: the final state of the last layer predicts the full horizon.

    Args:
        in_features: number of channels F.
        seq_len: number of observed steps T.
        horizon: number of predicted steps P.
        hidden_size: hidden state size.
        num_layers: number of recurrent layers.
        dropout: dropout probability between layers and before the head.
        segment: steps per input segment; segments shorten the recurrence over a long history.
        normalize: window normalization, see ``compute_loc_and_scale``.
        channel_independent: treat channels as independent samples with shared weights, which overfits less for few,
            loosely related channels.

    Raises:
        ValueError: a segment longer than the history.

    References:
        Cho et al. 2014, Learning Phrase Representations using RNN Encoder-Decoder (GRU).
        Lin et al. 2023, SegRNN (segments).
        Nie et al. 2023, A Time Series is Worth 64 Words (channel independence).
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
        loc, scale = compute_loc_and_scale(x, self.normalize)
        x = (x - loc) / scale
        # Fold channels into the batch if channel-independent: (B * groups, T, channels).
        x = x.transpose(1, 2).reshape(-1, self.channels, x.shape[1]).transpose(1, 2)
        _, state = apply_rnn(self.gru, self._split_segments(x))  # (layers, B * groups, H)
        y = self.head(self.dropout(state[-1])).view(-1, self.horizon, self.channels)
        y = y.transpose(1, 2).reshape(rows, features, self.horizon).transpose(1, 2)
        return y * scale + loc

    def _split_segments(self, x: Tensor) -> Tensor:
        """Reshape (B, T, C) to (B, T / segment, segment * C), dropping the oldest steps that fill no segment."""
        steps = x.shape[1] // self.segment
        return x[:, x.shape[1] - steps * self.segment :].reshape(x.shape[0], steps, -1)


class DLinear(nn.Module):
    """DLinear: ``y = A m + B (x - m)`` with the moving average m of the history.

    The edges are padded by replication. Two linear maps from T to P steps are shared by all channels. With
    ``moving_average=1`` it is a single linear map.

    Args:
        seq_len: number of observed steps T.
        horizon: number of predicted steps P.
        moving_average: window of the moving average in steps.
        normalize: ``none``, ``last`` (subtract the last value) or ``standard`` (z-score of each window).

    References:
        Zeng et al. 2023, Are Transformers Effective for Time Series Forecasting?
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
        self.seasonal = nn.Linear(seq_len, horizon)
        for layer in (self.trend, self.seasonal):  # start from the mean of the history instead of noise
            nn.init.constant_(layer.weight, 1 / seq_len)

    def forward(self, x: Tensor) -> Tensor:
        loc, scale = compute_loc_and_scale(x, self.normalize)
        x = ((x - loc) / scale).transpose(1, 2)  # (B, F, T)
        left_padding = (self.moving_average - 1) // 2
        padded = F.pad(x, (left_padding, self.moving_average - 1 - left_padding), mode="replicate")
        smooth = F.avg_pool1d(padded, self.moving_average, stride=1)
        y = self.trend(smooth) + self.seasonal(x - smooth)
        return y.transpose(1, 2) * scale + loc


class PatchTransformer(nn.Module):
    """PatchTST: a Transformer encoder over patches of each channel, ``h = Encoder(W patch_i + e_i)``.

    Channels are independent samples with shared weights, e is a learned position, and one linear map of all patches
    predicts the full horizon. Attention over patches reduces its cost by ``stride`` squared.

    Args:
        seq_len: number of observed steps T.
        horizon: number of predicted steps P.
        patch: steps per patch.
        stride: steps between the starts of consecutive patches.
        layers: number of Transformer blocks.
        normalize: ``none``, ``last`` (subtract the last value) or ``standard`` (z-score of each window).
        **blocks: options of the Transformer blocks, see ``BlockOptions``.

    Raises:
        ValueError: a patch longer than the history.

    References:
        Nie et al. 2023, A Time Series is Worth 64 Words
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
        config = TransformerConfig(seq_len=patches, **(self.option_defaults | blocks))
        self.embed = nn.Linear(patch, config.width)
        self.encoder = TransformerStack(config, layers)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(patches * config.width, horizon)

    def repeated_blocks(self) -> Sequence[nn.Module]:
        return tuple(self.encoder.blocks)

    def forward(self, x: Tensor) -> Tensor:
        rows, _, features = x.shape
        loc, scale = compute_loc_and_scale(x, self.normalize)
        x = ((x - loc) / scale).transpose(1, 2).flatten(0, 1)  # (B * F, T)
        steps, _ = self.encoder(self.embed(self._split_patches(x)))
        y = self.head(self.dropout(steps.flatten(1))).view(rows, features, -1)
        return y.transpose(1, 2) * scale + loc

    def _split_patches(self, x: Tensor) -> Tensor:
        """Split (N, T) into (N, patches, patch), aligned to the last step.

        The oldest steps that fill no patch are dropped.
        """
        return x[:, (x.shape[1] - self.patch) % self.stride :].unfold(1, self.patch, self.stride)
