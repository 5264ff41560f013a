"""Transformers that classify, or give numbers for, a whole sequence of features or of tokens."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from trainer.models.layers.attention import real_steps
from trainer.models.layers.pool import Pool
from trainer.models.layers.transformer import Plan, Stack
from trainer.types import NonNegativeInt, PositiveInt, Probability


class Transformer(nn.Module):
    """x (B, T, F), lengths (B) -> (B, C)

    Vaswani et al. 2017. Blocks of ``softmax(q k^T / sqrt(D)) v`` and two linear maps over all steps at once; ``pool``
    makes one vector of the real steps. With ``decoder_layers`` a decoder, which sees all steps too, reads the same
    sequence again beside what the encoder made of it. ``seq_len`` matters to learned positions and to linformer, which
    take no more steps, and to lsh, which has two buckets to a chunk of so many.

    Raises ConfigError for heads that cannot share the width, and for an ``attention`` that cannot do what is asked.
    """

    def __init__(
        self,
        in_features: PositiveInt,
        out_features: PositiveInt,
        seq_len: PositiveInt,
        width: PositiveInt,
        layers: PositiveInt,
        decoder_layers: NonNegativeInt,
        heads: PositiveInt,
        hidden: PositiveInt,
        activation: Literal["relu", "gelu"],
        norm: Literal["pre", "post"],
        dropout: Probability,
        positions: Literal["sinusoidal", "learned", "rotary", "none"],
        attention: Literal["full", "reference", "linear", "performer", "linformer", "chunked", "lsh"],
        attention_size: PositiveInt,
        attention_rounds: PositiveInt,
        pool: Literal["last", "mean", "max", "attention"],
    ):
        super().__init__()
        plan = Plan(
            width=width,
            heads=heads,
            hidden=hidden,
            activation=activation,
            norm=norm,
            dropout=dropout,
            positions=positions,
            seq_len=seq_len,
            attention=attention,
            attention_size=attention_size,
            attention_rounds=attention_rounds,
        )
        self.embed: nn.Module = nn.Linear(in_features, width)
        self.encoder = Stack(plan, layers)
        self.decoder = Stack(plan, decoder_layers, cross=True) if decoder_layers else None
        self.pool = Pool(pool, width, None)
        self.head = nn.Linear(width, out_features)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        real = real_steps(x, lengths)
        if real is not None:  # whatever stands in the padding, be it no number or no token
            x = x.masked_fill(~real.view(*real.shape, *[1] * (x.dim() - 2)), 0)
        embedded = self.embed(x)
        steps, _ = self.encoder(embedded, real)
        if self.decoder is not None:
            steps, _ = self.decoder(embedded, real, memory=self.decoder.read(steps), memory_real=real)
        ends = steps[:, -1] if lengths is None else steps[torch.arange(len(steps), device=steps.device), lengths - 1]
        return self.head(self.pool(steps, ends, lengths))


class TokenTransformer(Transformer):
    """x (B, S), lengths (B) -> (B, C)

    ``Transformer`` (Vaswani et al. 2017) over tokens 0..V-1, each a learned vector.
    """

    def __init__(
        self,
        vocab_size: PositiveInt,
        out_features: PositiveInt,
        seq_len: PositiveInt,
        width: PositiveInt,
        layers: PositiveInt,
        decoder_layers: NonNegativeInt,
        heads: PositiveInt,
        hidden: PositiveInt,
        activation: Literal["relu", "gelu"],
        norm: Literal["pre", "post"],
        dropout: Probability,
        positions: Literal["sinusoidal", "learned", "rotary", "none"],
        attention: Literal["full", "reference", "linear", "performer", "linformer", "chunked", "lsh"],
        attention_size: PositiveInt,
        attention_rounds: PositiveInt,
        pool: Literal["last", "mean", "max", "attention"],
    ):
        super().__init__(
            in_features=1,
            out_features=out_features,
            seq_len=seq_len,
            width=width,
            layers=layers,
            decoder_layers=decoder_layers,
            heads=heads,
            hidden=hidden,
            activation=activation,
            norm=norm,
            dropout=dropout,
            positions=positions,
            attention=attention,
            attention_size=attention_size,
            attention_rounds=attention_rounds,
            pool=pool,
        )
        self.embed = nn.Embedding(vocab_size, width)
