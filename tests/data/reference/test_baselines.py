"""Trivial rules, against what they score on average."""

from __future__ import annotations

import pytest
import torch

from trainer.core.dataset import TensorSplit
from trainer.data.reference import baselines


def split(target: torch.Tensor) -> TensorSplit:
    return TensorSplit({"x": torch.zeros(len(target), 1)}, target)


def test_of_classes_that_are_equally_frequent_one_is_drawn() -> None:
    train = split(torch.arange(8).repeat(5))
    test = split(torch.tensor([0] * 2 + [1] * 12 + [5] * 26))
    assert baselines.majority_class(train, test, 8)["accuracy"] == pytest.approx(1 / 8)


def test_the_rule_scores_the_mean_of_the_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 4, (300,), generator=generator)
    train, test = split(torch.tensor([0, 1, 1, 2, 2, 3])), split(truth)
    draws = torch.tensor([1, 2])[torch.randint(0, 2, (4000,), generator=generator)]
    mean = float((draws[:, None] == truth).double().mean())
    assert baselines.majority_class(train, test, 4)["accuracy"] == pytest.approx(mean, abs=0.005)


def test_the_most_frequent_class_alone_is_not_drawn() -> None:
    found = baselines.majority_class(split(torch.tensor([2, 2, 0])), split(torch.tensor([2, 1, 1, 1])), 3)
    assert found["accuracy"] == 0.25


def test_of_pixels_the_tied_classes_share_the_scores() -> None:
    train, test = split(torch.tensor([[0, 1, 2], [0, 1, 0], [1, 2, 2]])), split(torch.tensor([[0, 0, 1]]))
    found = baselines.majority_pixel_class(train, test, ["sky", "sea", "land"])
    assert found["pixel_accuracy"] == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)
    assert found["iou_sky"] == pytest.approx(2 / 3 / 3)
    assert found["iou_sea"] == pytest.approx(1 / 3 / 3)
    assert found["iou_land"] == 0
    assert found["mean_iou"] == pytest.approx(((2 / 3 + 0) / 2 + (0 + 1 / 3) / 2 + 0) / 3)
