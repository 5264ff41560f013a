"""Transformer sequence classifiers and regressors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn

from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.models.layers.attention.transformer import BlockOptions, TransformerConfig, TransformerStack
from trainer.models.layers.padding import make_valid_mask
from trainer.models.layers.sequence.sequence_pool import SequencePool


class Transformer(nn.Module):
    """Transformer encoder with pooling and a linear head.

    Args:
        in_features: number of input features F.
        out_features: number of outputs C.
        seq_len: maximum number of steps with learned positions or linformer attention; sets the number of buckets of
            lsh attention (two per chunk); otherwise unused.
        layers: number of encoder blocks.
        decoder_layers: layers of a non-causal decoder over the same input with cross-attention to the encoder output.
        attention_rounds: lsh: number of hash rounds.
        pool: pooling over the valid steps.
        **blocks: options of the Transformer blocks, see ``BlockOptions``.

    Raises:
        ValueError: a width that ``heads`` does not divide, or an ``attention`` without cross-attention where it is
            needed.

    References:
        Vaswani et al. 2017, Attention Is All You Need
    """

    shapes = "x (B, T, F), lengths (B) -> (B, C)"

    option_defaults: ClassVar[BlockOptions] = {
        "width": 64,
        "heads": 4,
        "hidden": 128,
        "activation": "gelu",
        "norm": "pre",
        "dropout": 0.1,
        "positions": "sinusoidal",
        "attention": "full",
        "attention_size": 32,
    }

    def __init__(
        self,
        in_features: PositiveInt,
        out_features: PositiveInt,
        seq_len: PositiveInt,
        layers: PositiveInt = 2,
        decoder_layers: NonNegativeInt = 0,
        attention_rounds: PositiveInt = 1,
        pool: Literal["last", "mean", "max", "attention"] = "mean",
        **blocks: Unpack[BlockOptions],
    ):
        super().__init__()
        config = TransformerConfig(
            seq_len=seq_len, attention_rounds=attention_rounds, **(self.option_defaults | blocks)
        )
        self.embed: nn.Module = nn.Linear(in_features, config.width)
        self.encoder = TransformerStack(config, layers)
        self.decoder = TransformerStack(config, decoder_layers, cross=True) if decoder_layers else None
        self.pool = SequencePool(pool, config.width, None)
        self.head = nn.Linear(config.width, out_features)

    def repeated_blocks(self) -> Sequence[nn.Module]:
        return (*self.encoder.blocks, *(self.decoder.blocks if self.decoder else ()))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        valid_mask = make_valid_mask(x, lengths)
        if valid_mask is not None:  # the padding may hold NaN or invalid tokens
            x = x.masked_fill(~valid_mask.view(*valid_mask.shape, *[1] * (x.dim() - 2)), 0)
        embedded = self.embed(x)
        steps, _ = self.encoder(embedded, valid_mask)
        if self.decoder is not None:
            steps, _ = self.decoder(embedded, valid_mask, memory=self.decoder.project_kv(steps), memory_mask=valid_mask)
        ends = (
            steps[:, -1] if lengths is None else steps[torch.arange(steps.shape[0], device=steps.device), lengths - 1]
        )
        return self.head(self.pool(steps, ends, lengths))


class TokenTransformer(Transformer):
    """``Transformer`` over token embeddings, tokens 0..V-1.

    Args:
        vocab_size: number of tokens V.
        out_features: number of outputs C.
        seq_len: maximum length for learned positions and linformer.
        layers: number of encoder blocks.
        decoder_layers: decoder blocks that cross-attend to the encoder output; 0: encoder only.
        attention_rounds: lsh: number of hash rounds.
        pool: sequence pooling: last (final non-padding step), mean, max or attention.
        **blocks: options of the Transformer blocks, see ``BlockOptions``.
    """

    shapes = "x (B, S), lengths (B) -> (B, C)"

    option_defaults: ClassVar[BlockOptions] = {
        "width": 64,
        "heads": 4,
        "hidden": 128,
        "activation": "gelu",
        "norm": "pre",
        "dropout": 0.0,
        "positions": "sinusoidal",
        "attention": "full",
        "attention_size": 32,
    }

    def __init__(
        self,
        vocab_size: PositiveInt,
        out_features: PositiveInt,
        seq_len: PositiveInt,
        layers: PositiveInt = 2,
        decoder_layers: NonNegativeInt = 0,
        attention_rounds: PositiveInt = 1,
        pool: Literal["last", "mean", "max", "attention"] = "mean",
        **blocks: Unpack[BlockOptions],
    ):
        super().__init__(
            in_features=1,
            out_features=out_features,
            seq_len=seq_len,
            layers=layers,
            decoder_layers=decoder_layers,
            attention_rounds=attention_rounds,
            pool=pool,
            **blocks,
        )
        self.embed = nn.Embedding(vocab_size, (self.option_defaults | blocks)["width"])
