"""Recurrent sequence classifiers and taggers.

Padding has no effect: each sequence is processed up to its own length.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.sequence.recurrent import RecurrentStack
from trainer.models.layers.sequence.sequence_pool import SequencePool


class RNN(nn.Module):
    """Recurrent sequence model ``h_t = cell(x_t, h_{t-1})`` with pooling and a linear head.

    Args:
        in_features: number of input features F.
        out_features: number of outputs C.
        cell: ``rnn`` (Elman), ``lstm`` or ``gru``.
        hidden_size: hidden state size per direction.
        num_layers: number of recurrent layers.
        bidirectional: run in both directions and concatenate the states.
        dropout: dropout probability between layers and before the head.
        pool: pooling over the valid steps: final state of each direction (``last``), ``mean``, ``max``,
            softmax-weighted mean (``attention``), or concatenation of all ``seq_len`` steps (``flatten``), which
            requires a fixed length.
        recurrent_init: ``orthogonal`` initializes the recurrent weights of each gate as orthogonal matrices, which
            preserve the norm of the state.
        forget_bias: initial forget gate bias of an LSTM.
        seq_len: sequence length; only required by ``flatten`` pooling.

    Raises:
        ValueError: a forget bias for a cell without a forget gate, or ``flatten`` with another number of steps.

    References:
        Elman 1990, Finding Structure in Time.
        Hochreiter and Schmidhuber 1997, Long Short-Term Memory.
        Schuster and Paliwal 1997, Bidirectional Recurrent Neural Networks.
        Cho et al. 2014, Learning Phrase Representations using RNN Encoder-Decoder (GRU).
        Saxe et al. 2014, Exact Solutions to the Nonlinear Dynamics of Learning (orthogonal initialization).
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
    """``RNN`` over token embeddings, to which ``dropout`` applies too.

    Args:
        vocab_size: number of tokens V.
        out_features: number of outputs C.
        cell: recurrent cell: ``rnn``, ``gru`` or ``lstm``.
        embed_size: token embedding size.
        hidden_size: hidden state size.
        num_layers: number of recurrent layers.
        bidirectional: run in both directions and concatenate the states.
        dropout: dropout probability of the embeddings, between layers and before the head.
        pool: sequence pooling, see ``RNN``.
        recurrent_init: initialization of the recurrent weights: default (uniform) or orthogonal.
        forget_bias: initial bias of the LSTM's forget gate; about 3 retains a token over 20 steps, 0 does not.
        seq_len: sequence length; only required by ``flatten`` pooling.

    Raises:
        ValueError: see ``RNN``.
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
            in_features=embed_size,
            out_features=out_features,
            cell=cell,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            pool=pool,
            recurrent_init=recurrent_init,
            forget_bias=forget_bias,
            seq_len=seq_len,
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.rnn(self.dropout(self.embedding(x)), lengths)


class Tagger(nn.Module):
    """Recurrent token tagger with logits ``W [h_t forward, h_t backward] + b`` at every token (T = S).

    With both directions each prediction depends on later tokens, which suits tagging but not generation.

    Args:
        vocab_size: number of tokens V.
        num_classes: number of classes C.
        cell: recurrent cell: ``rnn``, ``gru`` or ``lstm``.
        embed_size: token embedding size.
        hidden_size: hidden state size per direction.
        num_layers: number of recurrent layers.
        bidirectional: run in both directions; False predicts each tag from the tokens up to it.
        dropout: dropout probability of the embeddings, between layers and before the head.
        recurrent_init: initialization of the recurrent weights: default (uniform) or orthogonal.
        forget_bias: initial bias of the LSTM's forget gate; about 3 retains a token over 20 steps, 0 does not.

    Raises:
        ValueError: a forget bias for a cell without a forget gate.

    References:
        Graves and Schmidhuber 2005, Framewise Phoneme Classification with Bidirectional LSTM.
        Huang et al. 2015, Bidirectional LSTM-CRF Models for Sequence Tagging.
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
