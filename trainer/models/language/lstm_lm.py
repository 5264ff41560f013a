"""A recurrent language model."""

from __future__ import annotations

from torch import Tensor, nn

from trainer.core.decoding import DecoderState
from trainer.core.types import PositiveInt, Probability


class LSTMLanguage(nn.Module):
    """Mikolov et al. 2010; with LSTM cells Graves 2013. ``p(x) = prod_t p(x_t | x_<t)``: the state after token t scores
    token t+1. The state is all there is of the past, so writing on costs one step, however long the text.
    """

    shapes = "x (B, S) -> (B, S, V)"

    def __init__(
        self,
        vocab_size: PositiveInt,
        embed_size: PositiveInt = 64,
        hidden_size: PositiveInt = 256,
        num_layers: PositiveInt = 1,
        dropout: Probability = 0.0,
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.lstm = nn.LSTM(
            embed_size, hidden_size, num_layers, batch_first=True, dropout=dropout if num_layers > 1 else 0.0
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size)

    def decode(
        self, tokens: Tensor, memory: DecoderState = (), state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Scores (B, T, V) of the token after each of ``tokens`` (B, T), and the state to go on from: the hidden and
        the cell state, (B, L, H) each. Without a state the text begins."""
        before = None if state is None else tuple(part.transpose(0, 1).contiguous() for part in state)
        steps, after = self.lstm(self.dropout(self.embedding(tokens)), before)
        return self.head(self.dropout(steps)), tuple(part.transpose(0, 1) for part in after)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(x)[0]
