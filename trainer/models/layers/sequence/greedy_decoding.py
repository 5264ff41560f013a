"""An encoder-decoder whose output is what it writes by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from trainer.core.decoding import DecoderState, decode_greedy_scores


class GreedyEncoderDecoder(nn.Module, ABC):
    """Writes ``horizon`` tokens, each fed the best one before it, from the token ``start``."""

    start: int
    horizon: int

    @abstractmethod
    def encode(self, x: Tensor, lengths: Tensor | None = None) -> DecoderState:
        """What the decoder reads of tokens x (B, S)."""

    @abstractmethod
    def decode(
        self, tokens: Tensor, memory: DecoderState, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Scores of the token after each of ``tokens`` (B, T), (B, T, V), and the state to go on from."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return decode_greedy_scores(self, self.encode(x, lengths), x.new_full((len(x), 1), self.start), self.horizon)
