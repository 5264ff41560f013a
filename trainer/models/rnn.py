"""Recurrent networks over a whole sequence: plain, LSTM and GRU, in one or both directions, stacked.

Lengths are honoured: a row is read up to its own last step, whatever stands in the padding.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from trainer.errors import ConfigError
from trainer.types import PositiveInt, Probability

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class RNN(nn.Module):
    """x (B, T, F), lengths (B) -> (B, C)

    Elman 1990; LSTM: Hochreiter and Schmidhuber 1997; GRU: Cho et al. 2014; both ways: Schuster and Paliwal 1997.
    ``h_t = cell(x_t, h_{t-1})``. ``pool`` makes one vector of the steps: each direction's own end (``last``), the
    mean, the maximum, a learned softmax weighting, or all ``seq_len`` of them side by side (``flatten``); padding
    takes no part in any of them. Only ``flatten`` is tied to one number of steps.

    Raises ConfigError for a forget bias on a cell without a forget gate, and for ``flatten`` on another ``seq_len``.
    """

    def __init__(
        self,
        cell: Literal["rnn", "lstm", "gru"],
        in_features: PositiveInt,
        out_features: PositiveInt,
        hidden_size: PositiveInt,
        num_layers: PositiveInt,
        bidirectional: bool,
        dropout: Probability,
        pool: Literal["last", "mean", "max", "attention", "flatten"],
        forget_bias: float | None = None,
        seq_len: PositiveInt | None = None,
    ):
        super().__init__()
        if forget_bias is not None and cell != "lstm":
            raise ConfigError(f"model.forget_bias: cell {cell} has no forget gate; set cell=lstm or forget_bias=null")
        if pool == "flatten" and seq_len is None:
            raise ConfigError("model.pool: flatten needs model.seq_len; last, mean, max and attention do not")
        self.rnn = CELLS[cell](
            in_features,
            hidden_size,
            num_layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if num_layers > 1 else 0.0,
        )
        width = hidden_size * (2 if bidirectional else 1)
        self.pool = pool
        self.seq_len = seq_len
        self.score = nn.Linear(width, 1) if pool == "attention" else None
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width * (seq_len or 1) if pool == "flatten" else width, out_features)
        if forget_bias is not None:
            self._open_forget_gate(forget_bias)

    def _open_forget_gate(self, bias: float) -> None:
        # torch orders the gates input, forget, cell, output, and adds two biases: one carries it, the other is zero.
        for name, parameter in self.rnn.named_parameters():
            if "bias" in name:
                forget = parameter.data.chunk(4)[1]
                forget.fill_(bias if "ih" in name else 0.0)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if self.pool == "flatten" and x.shape[1] != self.seq_len:
            raise ConfigError(
                f"model.pool: flatten was built for {self.seq_len} steps and got {x.shape[1]};"
                " last, mean, max and attention take any number"
            )
        if lengths is None:
            steps, state = self.rnn(x)
        else:
            # Packing wants the lengths on the host: on an accelerator this is a synchronisation point.
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            packed, state = self.rnn(packed)
            steps, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        return self.head(self.dropout(self._summary(steps, state, lengths)))

    def _summary(self, steps: Tensor, state: Tensor | tuple[Tensor, Tensor], lengths: Tensor | None) -> Tensor:
        if self.pool == "last":
            ends = state[0] if isinstance(state, tuple) else state  # (layers * directions, B, H)
            return ends[-1] if not self.rnn.bidirectional else torch.cat((ends[-2], ends[-1]), dim=-1)
        if self.pool == "flatten":
            return steps.flatten(1)  # unpacking has put zeros in the padding
        places = torch.arange(steps.shape[1], device=steps.device)
        real = places < (places.new_tensor(steps.shape[1]) if lengths is None else lengths[:, None])
        real = real.expand(steps.shape[:2])[..., None]  # (B, T, 1)
        if self.pool == "max":
            return steps.masked_fill(~real, -torch.inf).amax(1)
        if self.pool == "mean":
            return (steps * real).sum(1) / real.sum(1)
        assert self.score is not None
        return (steps * self.score(steps).masked_fill(~real, -torch.inf).softmax(1)).sum(1)
