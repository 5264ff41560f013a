"""Autoregressive prior over the codes of a vector-quantized autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.core import decoding
from trainer.models.layers.attention.transformer import TransformerConfig, TransformerStack

NUM_HEADS = 2
"""Attention heads of the prior."""


class CodebookPrior(nn.Module):
    """Transformer prior ``p(codes) = prod_t p(code_t | code_<t)``.

    Sequences begin with a start token, one per class in a class-conditional model.

    Args:
        codes: codebook size K.
        num_positions: codes per sequence L.
        width: embedding dimension, even.
        layers: number of Transformer blocks.
        dropout: dropout probability of the blocks.
        num_classes: number of classes, or None for an unconditional prior.

    Shape:
        codes: (B, L)
        label: (B)
        output: (B, L, K), logits

    Raises:
        ValueError: a width that the heads do not divide.

    References:
        Vaswani et al. 2017, Attention Is All You Need
    """

    def __init__(
        self,
        codes: int,
        num_positions: int,
        width: int,
        layers: int = 1,
        dropout: float = 0.0,
        num_classes: int | None = None,
    ):
        super().__init__()
        if width % NUM_HEADS:
            raise ValueError(f"prior_width: {width} given; {NUM_HEADS} heads share it, so it must be even")
        self.codes = codes
        self.num_positions = num_positions
        config = TransformerConfig(
            width=width,
            heads=NUM_HEADS,
            hidden=4 * width,
            activation="gelu",
            norm="pre",
            dropout=dropout,
            positions="learned",
            seq_len=num_positions,
            attention="full",
            attention_size=1,
        )
        self.embed = nn.Embedding(codes + (num_classes or 1), width)
        self.transformer = TransformerStack(config, layers, causal=True)
        self.head = nn.Linear(width, codes)

    def decode(
        self, tokens: Tensor, memory: decoding.DecoderState = (), state: decoding.DecoderState | None = None
    ) -> tuple[Tensor, decoding.DecoderState]:
        """Return logits (B, T, K) of the code after each of ``tokens`` (B, T), and the key-value cache.

        Args:
            tokens: codes or start tokens (B, T).
            memory: ignored.
            state: key-value cache of the earlier tokens; None at the start.
        """
        x, state = self.transformer(self.embed(tokens), cache=state or ())
        return self.head(x), state

    def make_start_tokens(self, count: int, label: Tensor | None) -> Tensor:
        """Return the start tokens (count, 1).

        Args:
            count: number of sequences.
            label: class labels (count); None without classes.
        """
        start = torch.full((count,), self.codes, device=self.head.weight.device)
        return (start if label is None else start + label)[:, None]

    def forward(self, codes: Tensor, label: Tensor | None = None) -> Tensor:
        return self.decode(torch.cat((self.make_start_tokens(codes.shape[0], label), codes[:, :-1]), 1))[0]

    def write(self, count: int, label: Tensor | None = None) -> Tensor:
        """Sample new codes (count, L) with torch's global generator.

        Args:
            count: number of sequences.
            label: class labels (count); None without classes.
        """
        return decoding.generate_tokens(
            self, (), self.make_start_tokens(count, label), self.num_positions, _sample_codes
        )


def _sample_codes(scores: Tensor) -> Tensor:
    return torch.multinomial(scores.float().softmax(-1), 1).squeeze(1)
