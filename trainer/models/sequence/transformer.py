"""Transformers that classify, or give numbers for, a whole sequence of features or of tokens."""

from __future__ import annotations

from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn

from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.models.layers.attention.transformer import BlockOptions, TransformerConfig, TransformerStack
from trainer.models.layers.padding import make_valid_mask
from trainer.models.layers.sequence.sequence_pool import SequencePool


class Transformer(nn.Module):
    """Vaswani et al. 2017. Blocks of ``softmax(q k^T / sqrt(D)) v`` and two linear maps over all steps at once;
    ``pool`` makes one vector of the real steps. With ``decoder_layers`` a decoder, which sees all steps too, reads the
    same sequence again beside what the encoder made of it. ``seq_len`` matters to learned positions and to linformer,
    which take no more steps, and to lsh, which has two buckets to a chunk of so many.

    Raises ValueError for heads that cannot share the width, and for an ``attention`` that cannot do what is asked.
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
        plan = TransformerConfig(seq_len=seq_len, attention_rounds=attention_rounds, **(self.option_defaults | blocks))
        self.embed: nn.Module = nn.Linear(in_features, plan.width)
        self.encoder = TransformerStack(plan, layers)
        self.decoder = TransformerStack(plan, decoder_layers, cross=True) if decoder_layers else None
        self.pool = SequencePool(pool, plan.width, None)
        self.head = nn.Linear(plan.width, out_features)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        real = make_valid_mask(x, lengths)
        if real is not None:  # whatever stands in the padding, be it no number or no token
            x = x.masked_fill(~real.view(*real.shape, *[1] * (x.dim() - 2)), 0)
        embedded = self.embed(x)
        steps, _ = self.encoder(embedded, real)
        if self.decoder is not None:
            steps, _ = self.decoder(embedded, real, memory=self.decoder.project_kv(steps), memory_real=real)
        ends = steps[:, -1] if lengths is None else steps[torch.arange(len(steps), device=steps.device), lengths - 1]
        return self.head(self.pool(steps, ends, lengths))


class TokenTransformer(Transformer):
    """``Transformer`` (Vaswani et al. 2017) over tokens 0..V-1, each a learned vector."""

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
