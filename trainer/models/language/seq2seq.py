"""Recurrent encoder-decoder with optional attention.

Training and search use two methods of such models: ``encode`` processes the source once, and ``decode`` continues from
a state by one or more tokens. A memory and a state are tuples of batch-first tensors, so that a search can select and
reorder rows without interpreting them.
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
from trainer.models.layers.sequence.recurrent import apply_rnn, run_rnn
from trainer.models.layers.sequence.step_scan import scan_rnn
from trainer.utils.choices import get_choice

RNN_CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}


class Attention(nn.Module):
    """Luong attention ``tanh(W [h, sum_s softmax(score(h, e_s)) e_s])`` over the valid source steps e_s.

    ``U e`` does not depend on the target and is computed once, with the memory.

    Args:
        kind: ``dot`` scores ``h . U e`` (Luong's "general"), ``additive`` scores ``v . tanh(Q h + U e)`` (Bahdanau).
        width: hidden size.

    References:
        Bahdanau et al. 2015, Neural Machine Translation by Jointly Learning to Align and Translate.
        Luong et al. 2015, Effective Approaches to Attention-based Neural Machine Translation, eq. 5.
    """

    def __init__(self, kind: Literal["dot", "additive"], width: int):
        super().__init__()
        self.key_proj = nn.Linear(width, width, bias=False)
        self.query_proj = nn.Linear(width, width) if kind == "additive" else None
        self.score_proj = nn.Linear(width, 1, bias=False) if kind == "additive" else None
        self.out_proj = nn.Linear(2 * width, width)

    def forward(self, states: Tensor, source: Tensor, keys: Tensor, valid_mask: Tensor) -> Tensor:
        """Attend from decoder states to the source.

        Args:
            states: decoder states.
            source: encoder outputs.
            keys: projected encoder outputs, see ``key_proj``.
            valid_mask: mask of valid source steps.

        Shape:
            states: (B, T, H)
            source: (B, S, H)
            keys: (B, S, H)
            valid_mask: (B, S), bool, True for valid source steps
            output: (B, T, H)
        """
        if self.query_proj is None or self.score_proj is None:
            scores = states @ keys.transpose(1, 2)
        else:
            scores = self.score_proj(torch.tanh(self.query_proj(states)[:, :, None] + keys[:, None])).squeeze(-1)
        weights = scores.masked_fill(~valid_mask[:, None], -torch.inf).softmax(-1)  # (B, T, S)
        return torch.tanh(self.out_proj(torch.cat((states, weights @ source), -1)))


class Seq2Seq(GreedyEncoderDecoder):
    """Recurrent encoder-decoder ``p(y | x) = prod_t p(y_t | y_<t, x)`` with optional attention.

    The decoder starts from the final encoder state. Attention follows the recurrent layer, as in Luong et al., so that
    teacher forcing takes a single pass. Target tokens are 0..V-1; V is the start token, which opens every target and is
    never predicted. ``forward`` decodes greedily.

    Args:
        source_vocab_size: number of source tokens.
        vocab_size: number of target tokens V.
        horizon: number of tokens that ``forward`` generates.
        cell: recurrent cell: ``gru`` or ``lstm``.
        embed_size: token embedding size.
        hidden_size: hidden state size; if bidirectional, of both directions together.
        num_layers: number of recurrent layers of the encoder and of the decoder.
        bidirectional: bidirectional encoder with half the hidden size per direction.
        attention: attention score, see ``Attention``.
        dropout: dropout probability of the embeddings, between layers and before the head.

    Raises:
        ValueError: an odd ``hidden_size`` with ``bidirectional``.

    References:
        Cho et al. 2014, Learning Phrase Representations using RNN Encoder-Decoder.
        Sutskever et al. 2014, Sequence to Sequence Learning with Neural Networks.
        Bahdanau et al. 2015, Neural Machine Translation by Jointly Learning to Align and Translate.
        Luong et al. 2015, Effective Approaches to Attention-based Neural Machine Translation.
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
        layer_dropout = dropout if num_layers > 1 else 0.0
        encoder_size = hidden_size // 2 if bidirectional else hidden_size
        self.start = vocab_size
        self.horizon = horizon
        self.source_embedding = nn.Embedding(source_vocab_size, embed_size)
        make_cells = get_choice("cell", cell, RNN_CELLS)
        self.encoder = make_cells(
            embed_size, encoder_size, num_layers, batch_first=True, bidirectional=bidirectional, dropout=layer_dropout
        )
        self.target_embedding = nn.Embedding(vocab_size + 1, embed_size)
        self.decoder = make_cells(embed_size, hidden_size, num_layers, batch_first=True, dropout=layer_dropout)
        self.attention = None if attention == "none" else Attention(attention, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size)

    def encode(self, x: Tensor, lengths: Tensor | None = None) -> DecoderState:
        """Encode a source x (B, S) to the memory of the decoder.

        Args:
            x: source tokens (B, S).
            lengths: number of valid tokens (B); None if all are valid.

        Returns:
            Encoder outputs (B, S, H), their keys (B, S, H), the mask of valid steps (B, S), and the initial decoder
            state, one or two tensors (B, L, H).
        """
        embedded = self.dropout(self.source_embedding(x))
        if lengths is None:
            steps, state = apply_rnn(self.encoder, embedded)
        elif torch.compiler.is_exporting():
            steps, state = scan_rnn(self.encoder, embedded, lengths)
        elif not isinstance(self.encoder, nn.LSTM):
            steps, state = run_rnn(self.encoder, embedded, lengths)
        else:  # torch returns the cell state at the end of each sequence only for packed sequences
            packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
            packed, state = self.encoder(packed)
            steps, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        valid_mask = find_valid_steps(x, lengths)
        parts = state if isinstance(state, tuple) else (state,)
        keys = steps if self.attention is None else self.attention.key_proj(steps)
        return steps, keys, valid_mask, *(self._merge_directions(part, x.shape[0]) for part in parts)

    def _merge_directions(self, state: Tensor, rows: int) -> Tensor:
        layers = self.encoder.num_layers  # (L * directions, B, H / directions) -> (B, L, H), directions concatenated
        return state.reshape(layers, -1, rows, state.shape[-1]).permute(2, 0, 1, 3).flatten(2)

    def decode(
        self, tokens: Tensor, memory: DecoderState, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Return next-token logits (B, T, V) after ``tokens`` (B, T) and the new state.

        Without a state, the first of ``tokens`` must be the start token.

        Args:
            tokens: tokens (B, T) that continue the target, from 0 to V.
            memory: result of ``encode``.
            state: hidden states after the earlier tokens; None at the start.

        Raises:
            IndexError: a token above V.
        """
        steps, keys, valid_mask, *initial = memory
        hidden = tuple(part.transpose(0, 1).contiguous() for part in (initial if state is None else state))
        start = hidden if isinstance(self.decoder, nn.LSTM) else hidden[0]
        output, final = apply_rnn(self.decoder, self.dropout(self.target_embedding(tokens)), start)
        if self.attention is not None:
            output = self.attention(output, steps, keys, valid_mask)
        parts = final if isinstance(final, tuple) else (final,)
        return self.head(self.dropout(output)), tuple(part.transpose(0, 1) for part in parts)
