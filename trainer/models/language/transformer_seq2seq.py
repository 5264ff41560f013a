"""A Transformer that reads one sequence of tokens and writes another."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from trainer.core.decoding import DecoderState
from trainer.core.types import PositiveInt
from trainer.models.layers.attention.transformer import BlockOptions, TransformerConfig, TransformerStack
from trainer.models.layers.padding import make_valid_mask
from trainer.models.layers.sequence.greedy_decoding import GreedyEncoderDecoder


class TransformerSeq2Seq(GreedyEncoderDecoder):
    """Vaswani et al. 2017: ``p(y | x) = prod_t p(y_t | y_<t, x)``. A decoder that sees no later token attends to what
    the encoder made of the source, whose keys and values are computed once. Target tokens are 0..V-1; V itself is the
    start token, which opens every target and is never predicted. Called as a module it decodes greedily, ``horizon``
    tokens with nothing but its own choices as the past. Learned positions end at ``seq_len`` source tokens and
    ``horizon`` target tokens.

    Raises ValueError for heads that cannot share the width, and for an ``attention`` that sees later tokens or cannot
    read the source.
    """

    shapes = "x (B, S), lengths (B) -> (B, T, V)"

    option_defaults: ClassVar[BlockOptions] = {
        "width": 64,
        "heads": 4,
        "hidden": 128,
        "activation": "relu",
        "norm": "pre",
        "dropout": 0.0,
        "positions": "sinusoidal",
        "attention": "full",
        "attention_size": 32,
    }

    def __init__(
        self,
        source_vocab_size: PositiveInt,
        vocab_size: PositiveInt,
        seq_len: PositiveInt,
        horizon: PositiveInt,
        layers: PositiveInt = 2,
        decoder_layers: PositiveInt = 2,
        **blocks: Unpack[BlockOptions],
    ):
        super().__init__()
        plan = TransformerConfig(seq_len=seq_len, **(self.option_defaults | blocks))
        self.start = vocab_size
        self.horizon = horizon
        self.source = nn.Embedding(source_vocab_size, plan.width)
        self.encoder = TransformerStack(plan, layers)
        self.target = nn.Embedding(vocab_size + 1, plan.width)
        self.decoder = TransformerStack(replace(plan, seq_len=horizon), decoder_layers, causal=True, cross=True)
        self.head = nn.Linear(plan.width, vocab_size)

    def encode(self, x: Tensor, lengths: Tensor | None = None) -> DecoderState:
        """What decoding needs of a source x (B, S): which tokens are real (B, S), and for each block of the decoder
        their keys and values (B, heads, S, D)."""
        real = make_valid_mask(x, lengths)
        if real is None:
            real = torch.ones_like(x, dtype=torch.bool)
        steps, _ = self.encoder(self.source(x.masked_fill(~real, 0)), real)
        return real, *self.decoder.project_kv(steps)

    def decode(
        self, tokens: Tensor, memory: DecoderState, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Scores of the token after each of ``tokens`` (B, T), (B, T, V), and the state to go on from: keys and values
        (B, heads, steps so far, D) of each block. Without a state ``tokens`` opens the target."""
        real, *kept = memory
        x, state = self.decoder(self.target(tokens), past=state or (), memory=tuple(kept), memory_real=real)
        return self.head(x), state
