"""An LSTM that continues a text: it never looks ahead, and a step at a time says what a pass at once does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainer.models.language.lstm_lm import LSTMLanguage

VOCABULARY, STEPS = 11, 9


def model(num_layers: int = 2, dropout: float = 0.0) -> LSTMLanguage:
    torch.manual_seed(0)
    return LSTMLanguage(VOCABULARY, embed_size=5, hidden_size=6, num_layers=num_layers, dropout=dropout)


def tokens(rows: int = 3) -> Tensor:
    return torch.randint(VOCABULARY, (rows, STEPS), generator=torch.Generator().manual_seed(1))


def looks_ahead(net: nn.Module) -> bool:
    """Whether a later token changes any earlier score."""
    x = tokens()
    before = net(x)
    for step in range(1, STEPS):
        changed = x.clone()
        changed[:, step:] = (changed[:, step:] + 1) % VOCABULARY
        after = net(changed)
        if not torch.equal(after[:, :step], before[:, :step]):
            return True
        assert not torch.allclose(after[:, step], before[:, step])
    return False


def test_no_score_depends_on_a_later_token() -> None:
    net = model()
    assert not looks_ahead(net)
    net.lstm = nn.LSTM(5, 3, 2, batch_first=True, bidirectional=True)  # the usual mistake
    assert looks_ahead(net)


@pytest.mark.parametrize("cut", [1, 4, STEPS - 1])
def test_stepping_with_a_state_matches_a_single_pass(cut: int) -> None:
    net, x = model(), tokens()
    first, state = net.decode(x[:, :cut])
    parts = [first]
    for step in range(cut, STEPS):
        scores, state = net.decode(x[:, step : step + 1], (), state)
        parts.append(scores)
    assert torch.allclose(torch.cat(parts, 1), net(x), atol=1e-6)


def test_rows_of_a_state_can_be_picked_and_repeated() -> None:
    net, x = model(), tokens()
    _, state = net.decode(x[:, :5])
    picked = torch.tensor([2, 0, 2])
    scores, _ = net.decode(x[picked, 5:], (), tuple(part[picked] for part in state))
    assert torch.allclose(scores, net(x)[picked, 5:], atol=1e-6)


def test_it_matches_torch() -> None:
    net, x = model(num_layers=1), tokens()
    steps, _ = net.lstm(net.embedding(x))
    assert torch.equal(net(x), net.head(steps))


def test_dropout_applies_only_in_training() -> None:
    net, x = model(dropout=0.5), tokens()
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
