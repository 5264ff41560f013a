from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from trainer.models.layers.sequence.step_scan import State, scan_rnn, scan_steps

LENGTHS = torch.tensor([5, 1, 3])


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_scan_of_padded_sequences_equals_packed_sequences(kind: type[nn.RNNBase], bidirectional: bool) -> None:
    torch.manual_seed(0)
    cells = kind(3, 4, 2, batch_first=True, bidirectional=bidirectional)
    x = torch.randn(3, 5, 3)
    packed, state = cells(pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, batch_first=True, total_length=5)
    steps, final = scan_rnn(cells, x, LENGTHS)
    torch.testing.assert_close(steps, expected)
    states = state if isinstance(state, tuple) else (state,)
    for part, expected_part in zip(final, states, strict=True):
        torch.testing.assert_close(part, expected_part)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_scan_starts_from_an_initial_state(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    cells = kind(3, 4, 2, batch_first=True)
    x, parts = torch.randn(2, 5, 3), tuple(torch.randn(2, 2, 4) for _ in range(2 if kind is nn.LSTM else 1))
    expected, _ = cells(x, parts if kind is nn.LSTM else parts[0])
    torch.testing.assert_close(scan_rnn(cells, x, None, parts)[0], expected)


class Recurrence(nn.Module):
    """``h_t = tanh(h_{t-1} + x_t)`` beside a sum, from one tensor of zeros."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        zeros = torch.zeros_like(x[:, 0])

        def step(state: State, x: Tensor) -> tuple[State, State]:
            hidden, total = state
            return ((hidden + x).tanh(), total + x), (hidden,)

        (_, total), (states,) = scan_steps(step, (zeros, zeros), x, dim=1)
        return states, total


@pytest.mark.slow
def test_exported_scan_equals_the_loop_at_other_lengths() -> None:
    steps = {"x": {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}}
    program = torch.export.export(Recurrence(), (torch.randn(3, 4, 2),), dynamic_shapes=steps, strict=False).module()
    for shape in ((3, 4, 2), (1, 1, 2), (5, 9, 2)):
        x = torch.randn(*shape)
        for output, expected in zip(program(x), Recurrence()(x), strict=True):
            torch.testing.assert_close(output, expected)
