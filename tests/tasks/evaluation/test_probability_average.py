"""Logits of averaged class probabilities."""

from __future__ import annotations

import pytest
import torch

from trainer.tasks.evaluation.probability_average import average_logits


@pytest.mark.parametrize("shape", [(3, 4, 2), (3, 4, 5), (2, 3, 4, 6, 5), (1, 4, 3)])
def test_the_softmax_is_the_mean_softmax(shape: tuple[int, ...]) -> None:
    logits = 5 * torch.randn(shape)
    torch.testing.assert_close(average_logits(logits).softmax(1), logits.softmax(2).mean(0))


@pytest.mark.parametrize("shape", [(3, 4, 1), (2, 3, 1, 5)])
def test_the_probability_of_a_single_logit_is_the_mean(shape: tuple[int, ...]) -> None:
    logits = 5 * torch.randn(shape)
    torch.testing.assert_close(average_logits(logits).sigmoid(), logits.sigmoid().mean(0))


def test_probabilities_are_averaged_and_not_logits() -> None:
    logits = torch.tensor([[[8.0, 0.0]], [[0.0, 1.0]]])
    assert not torch.allclose(average_logits(logits).softmax(1), logits.mean(0).softmax(1), atol=0.1)


@pytest.mark.parametrize("classes", [1, 3])
def test_extreme_logits_stay_finite(classes: int) -> None:
    logits = torch.tensor([-1e4, 1e4, 0.0]).view(3, 1, 1).expand(3, 2, classes)
    assert average_logits(logits).isfinite().all()
