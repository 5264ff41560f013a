"""Autoregressive prior over codes: causality, class conditioning, sampling."""

from __future__ import annotations

import pytest
import torch

from trainer.models.layers.generative.codebook_prior import CodebookPrior


def make_prior(num_classes: int | None = None) -> CodebookPrior:
    return CodebookPrior(codes=5, num_positions=4, width=8, layers=2, dropout=0.0, num_classes=num_classes)


def test_scores_are_causal() -> None:
    prior, codes = make_prior(), torch.randint(5, (6, 4))
    for position in range(4):
        changed = codes.clone()
        changed[:, position] = (changed[:, position] + 1) % 5
        unchanged = (prior(codes) == prior(changed)).all(2).all(0)
        assert unchanged[: position + 1].all()
        assert not unchanged[position + 1 :].any()


def test_samples_match_argmax_of_confident_scores() -> None:
    prior = make_prior()
    with torch.no_grad():
        prior.head.weight.mul_(200)  # certain of each next code
        samples = prior.write(50)
        assert torch.equal(prior(samples).argmax(2), samples)


def test_scores_depend_on_class() -> None:
    prior, codes = make_prior(3), torch.randint(5, (1, 4)).expand(3, 4)
    scores = prior(codes, torch.arange(3))
    assert not torch.equal(scores[0], scores[1])
    assert torch.equal(scores[:1], prior(codes[:1], torch.tensor([0])))


def test_sample_frequencies_match_probabilities() -> None:
    prior = CodebookPrior(codes=3, num_positions=1, width=8, layers=1, dropout=0.0, num_classes=None)
    probs = torch.tensor([0.7, 0.2, 0.1])
    with torch.no_grad():
        prior.head.weight.zero_()
        prior.head.bias.copy_(probs.log())
    frequencies = prior.write(20000).flatten().bincount(minlength=3) / 20000
    torch.testing.assert_close(frequencies, probs, atol=0.015, rtol=0)


def test_width_not_divisible_by_heads_raises() -> None:
    with pytest.raises(ValueError, match="prior_width: 7 given; 2 heads share it"):
        CodebookPrior(codes=3, num_positions=1, width=7, layers=1, dropout=0.0, num_classes=None)
