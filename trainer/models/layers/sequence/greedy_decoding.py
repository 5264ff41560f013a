"""Base class of encoder-decoders with greedy decoding."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from trainer.core.decoding import DecoderState, decode_greedy_scores


class GreedyEncoderDecoder(nn.Module, ABC):
    """Base class of encoder-decoders whose ``forward`` decodes ``horizon`` tokens greedily from the token ``start``."""

    start: int
    horizon: int

    @abstractmethod
    def encode(self, x: Tensor, lengths: Tensor | None = None) -> DecoderState:
        """Encode a source x (B, S) to the memory of the decoder.

        Args:
            x: source tokens (B, S).
            lengths: number of valid tokens (B); None if all are valid.
        """

    @abstractmethod
    def decode(
        self, tokens: Tensor, memory: DecoderState, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Return next-token logits (B, T, V) after ``tokens`` (B, T) and the new state.

        Args:
            tokens: tokens (B, T) that continue the target.
            memory: result of ``encode``.
            state: state after the earlier tokens; None at the start.
        """

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return decode_greedy_scores(
            self, self.encode(x, lengths), x.new_full((x.shape[0], 1), self.start), self.horizon
        )
