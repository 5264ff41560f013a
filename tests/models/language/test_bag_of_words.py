"""Bag-of-words document models."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.models.language.bag_of_words import BagOfWords


def make_model(hidden: list[int] | None = None, **overrides: float) -> BagOfWords:
    torch.manual_seed(0)
    dropouts = {"word_dropout": 0.0, "dropout": 0.0} | overrides
    return BagOfWords(11, out_features=3, embed_size=5, hidden=hidden or [], **dropouts)


def make_tokens() -> tuple[Tensor, Tensor]:
    return torch.randint(11, (4, 7), generator=torch.Generator().manual_seed(1)), torch.tensor([7, 1, 3, 5])


def test_output_is_head_of_mean_embedding() -> None:
    net, (x, lengths) = make_model(), make_tokens()
    expected = [net.head(net.embedding(row[:n]).mean(0)) for row, n in zip(x, lengths.tolist(), strict=True)]
    assert torch.allclose(net(x, lengths), torch.stack(expected), atol=1e-6)
    assert torch.allclose(net(x), net(x, torch.full((4,), 7)), atol=1e-6)


@pytest.mark.parametrize("hidden", [[], [6, 4]])
def test_output_ignores_padding_and_token_order(hidden: list[int]) -> None:
    net, (x, lengths) = make_model(hidden), make_tokens()
    changed = x.where(torch.arange(7) < lengths[:, None], (x + 1) % 11)
    assert torch.equal(net(x, lengths), net(changed, lengths))
    assert torch.allclose(net(x), net(x.flip(1)), atol=1e-6)
    assert not torch.allclose(net(x, lengths), net(changed))


def test_word_dropout_averages_remaining_tokens() -> None:
    net, (x, lengths) = make_model(word_dropout=0.5), make_tokens()
    torch.manual_seed(3)
    output = net(x, lengths)
    torch.manual_seed(3)
    mask = (torch.arange(7) < lengths[:, None]) & (torch.rand(x.shape) >= 0.5)
    means = [
        net.embedding(row[real]).mean(0) if real.any() else torch.zeros(5) for row, real in zip(x, mask, strict=True)
    ]
    assert torch.allclose(output, net.head(torch.stack(means)), atol=1e-6)
    net.eval()
    assert torch.allclose(net(x, lengths), make_model()(x, lengths), atol=1e-6)


@pytest.mark.parametrize("word_dropout", [1.0])
def test_document_without_tokens_gives_finite_gradients(word_dropout: float) -> None:
    net, (x, lengths) = make_model(word_dropout=word_dropout), make_tokens()
    net(x, lengths).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
