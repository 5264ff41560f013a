"""``run_rnn`` against packed sequences: outputs, final states, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from trainer.models.layers.sequence.recurrent import reverse_sequences, run_rnn


def run_packed(cells: nn.RNNBase, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    steps, state = cells(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    padded_steps, _ = pad_packed_sequence(steps, batch_first=True, total_length=x.shape[1])
    return padded_steps, state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize("cell", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_run_rnn_matches_packed_sequences(cell: type[nn.RNNBase], bidirectional: bool, layers: int) -> None:
    torch.manual_seed(0)
    cells = cell(5, 7, layers, batch_first=True, bidirectional=bidirectional)
    x, lengths = torch.randn(9, 11, 5), torch.tensor([3, 11, 1, 7, 7, 2, 10, 5, 1])
    found, expected = run_rnn(cells, x, lengths), run_packed(cells, x, lengths)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(found[0]), torch.randn_like(found[1])
    gradients = [
        torch.autograd.grad(
            sum((part * w).sum() for part, w in zip(out, weights, strict=True)), list(cells.parameters())
        )
        for out in (found, expected)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_affects_neither_outputs_nor_gradients(bidirectional: bool) -> None:
    torch.manual_seed(0)
    cells = nn.LSTM(3, 4, 2, batch_first=True, bidirectional=bidirectional)
    x, lengths = torch.randn(2, 6, 3), torch.tensor([6, 2])
    x[1, 2:] = torch.nan
    steps, ends = run_rnn(cells, x, lengths)
    (steps.sum() + ends.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in cells.parameters())
    assert not steps[1, 2:].any()


def test_reverse_sequences_keeps_padding_in_place() -> None:
    x = torch.arange(8).view(2, 4, 1)
    assert reverse_sequences(x, torch.tensor([4, 2]))[..., 0].tolist() == [[3, 2, 1, 0], [5, 4, 6, 7]]


def test_dropout_applies_only_in_training() -> None:
    torch.manual_seed(0)
    cells = nn.GRU(3, 4, 2, batch_first=True, dropout=0.5)
    x, lengths = torch.randn(4, 6, 3), torch.tensor([6, 2, 3, 6])
    assert not torch.equal(run_rnn(cells, x, lengths)[0], run_rnn(cells, x, lengths)[0])
    cells.eval()
    assert torch.equal(run_rnn(cells, x, lengths)[0], run_rnn(cells, x, lengths)[0])
    torch.testing.assert_close(run_rnn(cells, x, lengths)[0], run_packed(cells, x, lengths)[0])
