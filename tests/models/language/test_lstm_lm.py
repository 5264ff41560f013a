"""LSTM language model: causality and incremental decoding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainer.models.language.lstm_lm import LSTMLanguage

VOCABULARY, STEPS = 11, 9


def make_model(num_layers: int = 2, dropout: float = 0.0) -> LSTMLanguage:
    torch.manual_seed(0)
    return LSTMLanguage(VOCABULARY, embed_size=5, hidden_size=6, num_layers=num_layers, dropout=dropout)


def make_tokens(rows: int = 3) -> Tensor:
    return torch.randint(VOCABULARY, (rows, STEPS), generator=torch.Generator().manual_seed(1))


def uses_later_tokens(net: nn.Module) -> bool:
    """Return True if a later token changes an earlier score."""
    x = make_tokens()
    before = net(x)
    for step in range(1, STEPS):
        changed = x.clone()
        changed[:, step:] = (changed[:, step:] + 1) % VOCABULARY
        after = net(changed)
        if not torch.equal(after[:, :step], before[:, :step]):
            return True
        assert not torch.allclose(after[:, step], before[:, step])
    return False


def test_scores_do_not_depend_on_later_tokens() -> None:
    net = make_model()
    assert not uses_later_tokens(net)
    net.lstm = nn.LSTM(5, 3, 2, batch_first=True, bidirectional=True)  # the usual mistake
    assert uses_later_tokens(net)


@pytest.mark.parametrize("prefix_length", [1, 4, STEPS - 1])
def test_incremental_decoding_matches_full_pass(prefix_length: int) -> None:
    net, x = make_model(), make_tokens()
    first, state = net.decode(x[:, :prefix_length])
    parts = [first]
    for step in range(prefix_length, STEPS):
        scores, state = net.decode(x[:, step : step + 1], (), state)
        parts.append(scores)
    assert torch.allclose(torch.cat(parts, 1), net(x), atol=1e-6)


def test_state_rows_can_be_selected_and_repeated() -> None:
    net, x = make_model(), make_tokens()
    _, state = net.decode(x[:, :5])
    index = torch.tensor([2, 0, 2])
    scores, _ = net.decode(x[index, 5:], (), tuple(part[index] for part in state))
    assert torch.allclose(scores, net(x)[index, 5:], atol=1e-6)


def test_forward_matches_torch_lstm() -> None:
    net, x = make_model(num_layers=1), make_tokens()
    steps, _ = net.lstm(net.embedding(x))
    assert torch.equal(net(x), net.head(steps))


def test_dropout_applies_only_in_training() -> None:
    net, x = make_model(dropout=0.5), make_tokens()
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
