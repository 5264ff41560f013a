"""Recurrent networks over a whole sequence of features or tokens: one answer for it, or one for every step.

Lengths are honoured: a row is read up to its own last step, whatever stands in the padding.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.sequence.recurrent import RecurrentStack
from trainer.models.layers.sequence.sequence_pool import SequencePool


class RNN(nn.Module):
    """Elman 1990; LSTM: Hochreiter and Schmidhuber 1997; GRU: Cho et al. 2014; both ways: Schuster and Paliwal 1997.
    ``h_t = cell(x_t, h_{t-1})``. ``pool`` makes one vector of the steps: each direction's own end (``last``), the
    mean, the maximum, a learned softmax weighting, or all ``seq_len`` of them side by side (``flatten``); padding
    takes no part in any of them. Only ``flatten`` is tied to one number of steps. ``recurrent_init=orthogonal`` makes
    each gate's ``h_{t-1}`` weights a rotation (Saxe et al. 2014), which neither shrinks nor blows up what it carries.

    Raises ValueError for a forget bias on a cell without a forget gate, and for ``flatten`` on another ``seq_len``.
    """

    shapes = "x (B, T, F), lengths (B) -> (B, C)"

    def __init__(
        self,
        in_features: PositiveInt,
        out_features: PositiveInt,
        cell: Literal["rnn", "lstm", "gru"] = "rnn",
        hidden_size: PositiveInt = 64,
        num_layers: PositiveInt = 1,
        bidirectional: bool = False,
        dropout: Probability = 0.0,
        pool: Literal["last", "mean", "max", "attention", "flatten"] = "last",
        recurrent_init: Literal["default", "orthogonal"] = "default",
        forget_bias: float | None = None,
        seq_len: PositiveInt | None = None,
    ):
        super().__init__()
        self.rnn = RecurrentStack(
            cell, in_features, hidden_size, num_layers, bidirectional, dropout, recurrent_init, forget_bias
        )
        self.pool = SequencePool(pool, self.rnn.width, seq_len)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.pool.out_features, out_features)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        steps, ends = self.rnn(x, lengths)
        return self.head(self.dropout(self.pool(steps, ends, lengths)))


class TextRNN(nn.Module):
    """``RNN`` over learned vectors of tokens, which ``dropout`` touches too.

    Raises ValueError as ``RNN`` does.
    """

    shapes = "x (B, S), lengths (B) -> (B, C)"

    def __init__(
        self,
        vocab_size: PositiveInt,
        out_features: PositiveInt,
        cell: Literal["rnn", "lstm", "gru"] = "lstm",
        embed_size: PositiveInt = 32,
        hidden_size: PositiveInt = 64,
        num_layers: PositiveInt = 1,
        bidirectional: bool = False,
        dropout: Probability = 0.0,
        pool: Literal["last", "mean", "max", "attention", "flatten"] = "last",
        recurrent_init: Literal["default", "orthogonal"] = "default",
        forget_bias: float | None = None,
        seq_len: PositiveInt | None = None,
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.dropout = nn.Dropout(dropout)
        self.rnn = RNN(
            *(embed_size, out_features, cell, hidden_size, num_layers, bidirectional, dropout, pool, recurrent_init),
            forget_bias=forget_bias,
            seq_len=seq_len,
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.rnn(self.dropout(self.embedding(x)), lengths)


class Tagger(nn.Module):
    """Graves and Schmidhuber 2005; Huang et al. 2015. A class for every token, ``W [h_t forward, h_t backward] + b``,
    with T = S. Read from both ends each answer knows the tokens after it: right for tagging, useless for generating
    them.

    Raises ValueError for a forget bias on a cell without a forget gate.
    """

    shapes = "x (B, S), lengths (B) -> (B, C, T)"

    def __init__(
        self,
        vocab_size: PositiveInt,
        num_classes: PositiveInt,
        cell: Literal["rnn", "lstm", "gru"] = "lstm",
        embed_size: PositiveInt = 16,
        hidden_size: PositiveInt = 32,
        num_layers: PositiveInt = 1,
        bidirectional: bool = True,
        dropout: Probability = 0.0,
        recurrent_init: Literal["default", "orthogonal"] = "default",
        forget_bias: float | None = None,
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.dropout = nn.Dropout(dropout)
        self.rnn = RecurrentStack(
            cell, embed_size, hidden_size, num_layers, bidirectional, dropout, recurrent_init, forget_bias
        )
        self.head = nn.Linear(self.rnn.width, num_classes)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        steps, _ = self.rnn(self.dropout(self.embedding(x)), lengths)
        return self.head(self.dropout(steps)).transpose(1, 2)
