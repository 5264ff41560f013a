"""Models of documents whose words have no order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.models.language.bag_of_words import BagOfWords


def model(hidden: list[int] | None = None, **more: float) -> BagOfWords:
    torch.manual_seed(0)
    dropouts = {"word_dropout": 0.0, "dropout": 0.0} | more
    return BagOfWords(11, out_features=3, embed_size=5, hidden=hidden or [], **dropouts)


def tokens() -> tuple[Tensor, Tensor]:
    return torch.randint(11, (4, 7), generator=torch.Generator().manual_seed(1)), torch.tensor([7, 1, 3, 5])


def test_it_is_the_mean_of_the_vectors_of_the_real_tokens() -> None:
    net, (x, lengths) = model(), tokens()
    expected = [net.head(net.embedding(row[:n]).mean(0)) for row, n in zip(x, lengths.tolist(), strict=True)]
    assert torch.allclose(net(x, lengths), torch.stack(expected), atol=1e-6)
    assert torch.allclose(net(x), net(x, torch.full((4,), 7)), atol=1e-6)


@pytest.mark.parametrize("hidden", [[], [6, 4]])
def test_neither_padding_nor_order_matters(hidden: list[int]) -> None:
    net, (x, lengths) = model(hidden), tokens()
    changed = x.where(torch.arange(7) < lengths[:, None], (x + 1) % 11)
    assert torch.equal(net(x, lengths), net(changed, lengths))
    assert torch.allclose(net(x), net(x.flip(1)), atol=1e-6)
    assert not torch.allclose(net(x, lengths), net(changed))


def test_left_out_tokens_leave_a_mean_over_the_others() -> None:
    net, (x, lengths) = model(word_dropout=0.5), tokens()
    torch.manual_seed(3)
    drawn = net(x, lengths)
    torch.manual_seed(3)
    kept = (torch.arange(7) < lengths[:, None]) & (torch.rand(x.shape) >= 0.5)
    means = [
        net.embedding(row[real]).mean(0) if real.any() else torch.zeros(5) for row, real in zip(x, kept, strict=True)
    ]
    assert torch.allclose(drawn, net.head(torch.stack(means)), atol=1e-6)
    net.eval()
    assert torch.allclose(net(x, lengths), model()(x, lengths), atol=1e-6)


@pytest.mark.parametrize("share", [1.0])
def test_a_document_without_tokens_gives_finite_values(share: float) -> None:
    net, (x, lengths) = model(word_dropout=share), tokens()
    net(x, lengths).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
