"""Which codes go together: a model of short sequences of them, to write new ones by."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.core import decoding
from trainer.models.layers.attention.transformer import TransformerConfig, TransformerStack

NUM_HEADS = 2
"""Of attention in the prior."""


class CodebookPrior(nn.Module):
    """codes (B, L), label (B) -> (B, L, K)

    ``p(codes) = prod_t p(code_t | code_<t)`` by causal blocks (Vaswani et al. 2017). Every row begins with a token that
    tells its class, or with one that is the same for all.

    Raises ValueError for a width that its heads cannot share.
    """

    def __init__(
        self, codes: int, places: int, width: int, layers: int = 1, dropout: float = 0.0, num_classes: int | None = None
    ):
        super().__init__()
        if width % NUM_HEADS:
            raise ValueError(f"prior_width: {width} given; {NUM_HEADS} heads share it, so it must be even")
        self.codes = codes
        self.places = places
        plan = TransformerConfig(
            width=width,
            heads=NUM_HEADS,
            hidden=4 * width,
            activation="gelu",
            norm="pre",
            dropout=dropout,
            positions="learned",
            seq_len=places,
            attention="full",
            attention_size=1,
        )
        self.embed = nn.Embedding(codes + (num_classes or 1), width)
        self.blocks = TransformerStack(plan, layers, causal=True)
        self.head = nn.Linear(width, codes)

    def decode(
        self, tokens: Tensor, memory: decoding.DecoderState = (), state: decoding.DecoderState | None = None
    ) -> tuple[Tensor, decoding.DecoderState]:
        """Scores (B, T, K) of the code after each of ``tokens`` (B, T), and the state to go on from."""
        x, state = self.blocks(self.embed(tokens), past=state or ())
        return self.head(x), state

    def make_start_tokens(self, count: int, label: Tensor | None) -> Tensor:
        """The tokens (count, 1) that rows begin with."""
        start = torch.full((count,), self.codes, device=self.head.weight.device)
        return (start if label is None else start + label)[:, None]

    def forward(self, codes: Tensor, label: Tensor | None = None) -> Tensor:
        return self.decode(torch.cat((self.make_start_tokens(len(codes), label), codes[:, :-1]), 1))[0]

    def write(self, count: int, label: Tensor | None = None) -> Tensor:
        """New codes (count, L), from torch's generator."""
        return decoding.generate_tokens(self, (), self.make_start_tokens(count, label), self.places, _sample_codes)


def _sample_codes(scores: Tensor) -> Tensor:
    return torch.multinomial(scores.float().softmax(-1), 1).squeeze(1)
