"""Transformer encoder-decoder."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Transformer encoder-decoder ``p(y | x) = prod_t p(y_t | y_<t, x)``.

    Keys and values of the encoder output are computed once. Target tokens are 0..V-1; V is the start token, which opens
    every target and is never predicted. ``forward`` decodes greedily.

    Args:
        source_vocab_size: number of source tokens.
        vocab_size: number of target tokens V.
        seq_len: maximum number of source tokens with learned positions.
        horizon: number of tokens that ``forward`` generates; maximum target length with learned positions.
        layers: number of encoder blocks.
        decoder_layers: number of decoder blocks.
        **blocks: options of the Transformer blocks, see ``BlockOptions``.

    Raises:
        ValueError: a width that ``heads`` does not divide, or an ``attention`` that cannot be causal or cross-attend.

    References:
        Vaswani et al. 2017, Attention Is All You Need
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
        config = TransformerConfig(seq_len=seq_len, **(self.option_defaults | blocks))
        self.start = vocab_size
        self.horizon = horizon
        self.source_embedding = nn.Embedding(source_vocab_size, config.width)
        self.encoder = TransformerStack(config, layers)
        self.target_embedding = nn.Embedding(vocab_size + 1, config.width)
        self.decoder = TransformerStack(replace(config, seq_len=horizon), decoder_layers, causal=True, cross=True)
        self.head = nn.Linear(config.width, vocab_size)

    def repeated_blocks(self) -> Sequence[nn.Module]:
        return (*self.encoder.blocks, *self.decoder.blocks)

    def encode(self, x: Tensor, lengths: Tensor | None = None) -> DecoderState:
        """Encode a source x (B, S) to the memory of the decoder.

        Args:
            x: source tokens (B, S).
            lengths: number of valid tokens (B); None if all are valid.

        Returns:
            Mask of valid tokens (B, S), and keys and values (B, heads, S, D) for each decoder block.
        """
        valid = make_valid_mask(x, lengths)
        if valid is None:
            valid = torch.ones_like(x, dtype=torch.bool)
        steps, _ = self.encoder(self.source_embedding(x.masked_fill(~valid, 0)), valid)
        return valid, *self.decoder.project_kv(steps)

    def decode(
        self, tokens: Tensor, memory: DecoderState, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Return next-token logits (B, T, V) after ``tokens`` (B, T) and the key-value cache.

        The cache holds keys and values (B, heads, past steps, D) per block. Without a state, the first of ``tokens``
        must be the start token.

        Args:
            tokens: tokens (B, T) that continue the target, from 0 to V.
            memory: result of ``encode``.
            state: key-value cache of the earlier tokens; None at the start.
        """
        valid, *keys_values = memory
        x, state = self.decoder(
            self.target_embedding(tokens), cache=state or (), memory=tuple(keys_values), memory_mask=valid
        )
        return self.head(x), state
