"""Recurrent language model."""

from __future__ import annotations

from torch import Tensor, nn

from trainer.core.decoding import DecoderState
from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.sequence.recurrent import apply_rnn


class LSTMLanguage(nn.Module):
    """LSTM language model ``p(x) = prod_t p(x_t | x_<t)``.

    Generation costs one step per token, independent of the length of the text.

    Args:
        vocab_size: number of tokens V.
        embed_size: token embedding size.
        hidden_size: hidden state size.
        num_layers: number of recurrent layers.
        dropout: dropout probability of the embeddings, between layers and before the head.

    References:
        Mikolov et al. 2010, Recurrent Neural Network Based Language Model.
        Graves 2013, Generating Sequences with Recurrent Neural Networks.
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
        """Return next-token logits (B, T, V) after ``tokens`` (B, T) and the new state.

        The state is the hidden and the cell state, (B, L, H) each; without one the text starts from zero states.
        ``memory`` is ignored.

        Args:
            tokens: tokens (B, T) that continue the text.
            memory: ignored.
            state: state after the earlier tokens; None at the start.
        """
        initial = None if state is None else tuple(part.transpose(0, 1).contiguous() for part in state)
        steps, final = apply_rnn(self.lstm, self.dropout(self.embedding(tokens)), initial)
        return self.head(self.dropout(steps)), tuple(part.transpose(0, 1) for part in final)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(x)[0]
