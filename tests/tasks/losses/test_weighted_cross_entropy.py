"""Class weights and the focal loss against torch, scikit-learn and the formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.lab import lab
from trainer.core.batch import IGNORE_INDEX
from trainer.core.split import TensorSplit
from trainer.tasks.losses import class_weights, masked_cross_entropy
from trainer.tasks.losses.weighted_cross_entropy import focal_loss, weighted_cross_entropy

WEIGHTS = torch.tensor([0.5, 2.0, 1.0])


def make_rows(*positions: int, ignored: bool = False) -> tuple[Tensor, Tensor]:
    """Return logits (20, 3, ...) and classes (20, ...), some of them ignored."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 3, *positions, generator=generator)
    target = torch.randint(0, 3, (20, *positions), generator=generator)
    if ignored:
        target[::3] = IGNORE_INDEX
    return logits, target


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("positions", [(), (5,), (4, 6)])
@pytest.mark.parametrize("ignored", [False, True])
def test_weighted_loss_equals_that_of_torch(label_smoothing: float, positions: tuple[int, ...], ignored: bool) -> None:
    logits, target = make_rows(*positions, ignored=ignored)
    expected = F.cross_entropy(logits, target, WEIGHTS, ignore_index=IGNORE_INDEX, label_smoothing=label_smoothing)
    torch.testing.assert_close(weighted_cross_entropy(logits, target, WEIGHTS, label_smoothing), expected)


def test_weighted_loss_of_class_probabilities_equals_that_of_torch() -> None:
    logits, target = make_rows()
    mixed = 0.3 * F.one_hot(target, 3) + 0.7 * F.one_hot(target.roll(1), 3)
    torch.testing.assert_close(weighted_cross_entropy(logits, mixed, WEIGHTS), F.cross_entropy(logits, mixed, WEIGHTS))
    ones = torch.ones(3)
    torch.testing.assert_close(focal_loss(logits, mixed, 0.0, ones), F.cross_entropy(logits, mixed))


def test_loss_without_weighted_targets_is_zero() -> None:
    logits, target = make_rows(5)
    for rows, weights in ((torch.full_like(target, IGNORE_INDEX), WEIGHTS), (target * 0, torch.tensor([0.0, 1, 1]))):
        assert float(weighted_cross_entropy(logits, rows, weights)) == 0
        assert float(focal_loss(logits, rows, 2.0, weights)) == 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_loss_by_its_formula(gamma: float, weights: Tensor | None) -> None:
    logits, target = make_rows()
    logits.requires_grad_()
    probability = logits.softmax(1)[range(20), target]
    weight = torch.ones(20) if weights is None else weights[target]
    expected = -(weight * (1 - probability) ** gamma * probability.log()).sum() / weight.sum()
    loss = focal_loss(logits, target, gamma, weights)
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(each, logits)[0] for each in (loss, expected)]
    torch.testing.assert_close(*gradients)
    if not gamma and weights is None:
        torch.testing.assert_close(loss, F.cross_entropy(logits, target))


def test_focal_loss_of_maps_ignores_targets() -> None:
    logits, target = make_rows(4, 6, ignored=True)
    torch.testing.assert_close(focal_loss(logits, target, 0.0), masked_cross_entropy.cross_entropy(logits, target))


@pytest.mark.parametrize("gamma", [0.3, 2.0])
def test_focal_loss_of_certain_predictions_has_finite_gradients(gamma: float) -> None:
    logits = torch.tensor([[100.0, -100.0], [-100.0, 100.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([0, 0]), gamma).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    target = torch.tensor([0] * 7 + [1] * 2 + [3] * 11)
    weights = class_weights.balance_class_weights(class_weights.count_classes(TensorSplit({"x": target}, target), 4))
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=target.numpy())
    np.testing.assert_allclose(weights[[0, 1, 3]], expected, rtol=1e-6)
    assert weights[2] == 0, "a class without a row"


class Maps(TensorSplit):
    """Split of target maps that reports only their distinct values, as image folders do."""

    def get_targets(self) -> Tensor:
        return torch.tensor([[0, 1, IGNORE_INDEX]])


def test_target_maps_are_counted_and_not_their_distinct_values() -> None:
    target = torch.zeros(150, 4, 4, dtype=torch.long)
    target[:, 0] = 1
    target[0] = IGNORE_INDEX
    split = Maps({"x": target}, target)
    assert class_weights.count_classes(split, 2).tolist() == [149 * 12, 149 * 4]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [("task.class_weights=[1,5]",), ("task.class_weights=balanced", "task.focal_gamma=2")]
)
def test_accumulated_gradients_equal_those_of_a_large_batch(options: tuple[str, ...]) -> None:
    """Of unequal batches with different shares of the classes."""
    common = ("model=mlp", "data=moons", "data.rows=100", "epochs=2", "model.hidden=[4]", *options)
    runs = [lab(*common, *sizes) for sizes in (("batch_size=28",), ("batch_size=7", "accumulate=4"))]
    for run in runs:
        run.trainer.fit()
    for whole, accumulated in zip(*(run.task.model.parameters() for run in runs), strict=True):
        torch.testing.assert_close(whole, accumulated, rtol=1e-4, atol=1e-6)
    plain = lab("model=mlp", "data=moons", "data.rows=100", "epochs=2", "model.hidden=[4]", "batch_size=28")
    plain.trainer.fit()
    assert not torch.allclose(next(plain.task.model.parameters()), next(runs[0].task.model.parameters()), atol=1e-3)
