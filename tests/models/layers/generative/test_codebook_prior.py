"""A prior over codes sees only what it has written, and the class it was told."""

from __future__ import annotations

import pytest
import torch

from trainer.models.layers.generative.codebook_prior import CodebookPrior


def prior(num_classes: int | None = None) -> CodebookPrior:
    return CodebookPrior(codes=5, num_positions=4, width=8, layers=2, dropout=0.0, num_classes=num_classes)


def test_scores_of_a_code_depend_on_those_before_it_alone() -> None:
    made, codes = prior(), torch.randint(5, (6, 4))
    for place in range(4):
        other = codes.clone()
        other[:, place] = (other[:, place] + 1) % 5
        same = (made(codes) == made(other)).all(2).all(0)
        assert same[: place + 1].all()
        assert not same[place + 1 :].any()


def test_writing_follows_the_scores_of_what_is_written() -> None:
    made = prior()
    with torch.no_grad():
        made.head.weight.mul_(200)  # certain of each next code
        written = made.write(50)
        assert torch.equal(made(written).argmax(2), written)


def test_the_class_follows_from_the_first_token() -> None:
    made, codes = prior(3), torch.randint(5, (1, 4)).expand(3, 4)
    scores = made(codes, torch.arange(3))
    assert not torch.equal(scores[0], scores[1])
    assert torch.equal(scores[:1], made(codes[:1], torch.tensor([0])))


def test_a_written_code_comes_as_often_as_it_is_likely() -> None:
    made = CodebookPrior(codes=3, num_positions=1, width=8, layers=1, dropout=0.0, num_classes=None)
    share = torch.tensor([0.7, 0.2, 0.1])
    with torch.no_grad():
        made.head.weight.zero_()
        made.head.bias.copy_(share.log())
    written = made.write(20000).flatten().bincount(minlength=3) / 20000
    torch.testing.assert_close(written, share, atol=0.015, rtol=0)


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="prior_width: 7 given; 2 heads share it"):
        CodebookPrior(codes=3, num_positions=1, width=7, layers=1, dropout=0.0, num_classes=None)
