"""Recurrent encoder-decoders over tokens, with or without attention.

Two methods are all that training and search need of one, whatever is inside: ``encode`` reads the source once, and
``decode`` goes on from a state by one token or by many. A memory and a state are tuples of tensors with the rows
first, so that a search may pick, repeat or reorder rows without knowing what they mean.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from trainer.core.decoding import DecoderState
from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.padding import find_valid_steps
from trainer.models.layers.sequence.greedy_decoding import GreedyEncoderDecoder
from trainer.models.layers.sequence.recurrent import run_rnn

RNN_CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}


class Attention(nn.Module):
    """``tanh(W [h, sum_s softmax(score(h, e_s)) e_s])`` over the real source steps e_s (Luong et al. 2015, eq. 5).

    ``dot``: score ``h . U e`` (Luong et al. 2015, "general"). ``additive``: ``v . tanh(Q h + U e)`` (Bahdanau et al.
    2015). ``U e`` is the same at every step of the target, so it is computed once, with the memory.
    """

    def __init__(self, kind: Literal["dot", "additive"], width: int):
        super().__init__()
        self.key = nn.Linear(width, width, bias=False)
        self.query = nn.Linear(width, width) if kind == "additive" else None
        self.reduce = nn.Linear(width, 1, bias=False) if kind == "additive" else None
        self.mix = nn.Linear(2 * width, width)

    def forward(self, states: Tensor, source: Tensor, keys: Tensor, real: Tensor) -> Tensor:
        """states (B, T, H), source and keys (B, S, H), real (B, S) bool -> (B, T, H)."""
        if self.query is None or self.reduce is None:
            scores = states @ keys.transpose(1, 2)
        else:
            scores = self.reduce(torch.tanh(self.query(states)[:, :, None] + keys[:, None])).squeeze(-1)
        weights = scores.masked_fill(~real[:, None], -torch.inf).softmax(-1)  # (B, T, S)
        return torch.tanh(self.mix(torch.cat((states, weights @ source), -1)))


class Seq2Seq(GreedyEncoderDecoder):
    """Sutskever et al. 2014; Cho et al. 2014; attention: Bahdanau et al. 2015, Luong et al. 2015.
    ``p(y | x) = prod_t p(y_t | y_<t, x)``: the decoder starts from the encoder's last state. Either attention score
    is applied after the recurrent layer, as Luong et al. do, so that a whole known target is one pass. Target tokens
    are 0..V-1; V itself is the start token, which opens every target and is never predicted. Called as a
    module it decodes greedily, ``horizon`` tokens with nothing but its own choices as the past. With
    ``bidirectional`` each direction of the encoder has half the width.

    Raises ValueError for an odd ``hidden_size`` with ``bidirectional``.
    """

    shapes = "x (B, S), lengths (B) -> (B, T, V)"

    def __init__(
        self,
        source_vocab_size: PositiveInt,
        vocab_size: PositiveInt,
        horizon: PositiveInt,
        cell: Literal["gru", "lstm"] = "gru",
        embed_size: PositiveInt = 32,
        hidden_size: PositiveInt = 128,
        num_layers: PositiveInt = 1,
        bidirectional: bool = True,
        attention: Literal["none", "dot", "additive"] = "dot",
        dropout: Probability = 0.0,
    ):
        super().__init__()
        if bidirectional and hidden_size % 2:
            raise ValueError(f"hidden_size: two directions share it, so it must be even; given {hidden_size}")
        between = dropout if num_layers > 1 else 0.0
        one_way = hidden_size // 2 if bidirectional else hidden_size
        self.start = vocab_size
        self.horizon = horizon
        self.source = nn.Embedding(source_vocab_size, embed_size)
        self.encoder = RNN_CELLS[cell](
            embed_size, one_way, num_layers, batch_first=True, bidirectional=bidirectional, dropout=between
        )
        self.target = nn.Embedding(vocab_size + 1, embed_size)
        self.decoder = RNN_CELLS[cell](embed_size, hidden_size, num_layers, batch_first=True, dropout=between)
        self.attention = None if attention == "none" else Attention(attention, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size)

    def encode(self, x: Tensor, lengths: Tensor | None = None) -> DecoderState:
        """What decoding needs of a source x (B, S): its steps and their keys (B, S, H), which of them are real (B, S),
        and the first state of the decoder, one or two (B, L, H)."""
        embedded = self.dropout(self.source(x))
        if lengths is None:
            steps, state = self.encoder(embedded)
        elif not isinstance(self.encoder, nn.LSTM):
            steps, state = run_rnn(self.encoder, embedded, lengths)
        else:  # an LSTM's memory at the end of each row is told for packed sequences alone
            packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
            packed, state = self.encoder(packed)
            steps, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        real = find_valid_steps(x, lengths)
        parts = state if isinstance(state, tuple) else (state,)
        keys = steps if self.attention is None else self.attention.key(steps)
        return steps, keys, real, *(self._merge_directions(part, len(x)) for part in parts)

    def _merge_directions(self, state: Tensor, rows: int) -> Tensor:
        layers = self.encoder.num_layers  # (L * directions, B, H / directions) -> (B, L, H), directions side by side
        return state.reshape(layers, -1, rows, state.shape[-1]).permute(2, 0, 1, 3).flatten(2)

    def decode(
        self, tokens: Tensor, memory: DecoderState, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Scores of the token after each of ``tokens`` (B, T), (B, T, V), and the state to go on from.

        Without a state ``tokens`` opens the target, so its first one is the start token. Raises IndexError from the
        embedding for a token over V.
        """
        steps, keys, real, *first = memory
        hidden = tuple(part.transpose(0, 1).contiguous() for part in (first if state is None else state))
        output, after = self.decoder(
            self.dropout(self.target(tokens)), hidden if isinstance(self.decoder, nn.LSTM) else hidden[0]
        )
        if self.attention is not None:
            output = self.attention(output, steps, keys, real)
        parts = after if isinstance(after, tuple) else (after,)
        return self.head(self.dropout(output)), tuple(part.transpose(0, 1) for part in parts)
