"""Baselines compared with their expected scores."""

from __future__ import annotations

import pytest
import torch

from trainer.core.split import TensorSplit
from trainer.data.reference import baselines


def make_split(target: torch.Tensor) -> TensorSplit:
    return TensorSplit({"x": torch.zeros(len(target), 1)}, target)


def test_majority_class_of_uniform_classes_scores_chance() -> None:
    train = make_split(torch.arange(8).repeat(5))
    test = make_split(torch.tensor([0] * 2 + [1] * 12 + [5] * 26))
    assert baselines.majority_class(train, test, 8)["accuracy"] == pytest.approx(1 / 8)


def test_tied_majority_classes_score_mean_of_random_choices() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 4, (300,), generator=generator)
    train, test = make_split(torch.tensor([0, 1, 1, 2, 2, 3])), make_split(truth)
    draws = torch.tensor([1, 2])[torch.randint(0, 2, (4000,), generator=generator)]
    mean = float((draws[:, None] == truth).double().mean())
    assert baselines.majority_class(train, test, 4)["accuracy"] == pytest.approx(mean, abs=0.005)


def test_unique_majority_class_is_always_predicted() -> None:
    scores = baselines.majority_class(make_split(torch.tensor([2, 2, 0])), make_split(torch.tensor([2, 1, 1, 1])), 3)
    assert scores["accuracy"] == 0.25


def test_tied_majority_pixel_classes_average_their_scores() -> None:
    train, test = make_split(torch.tensor([[0, 1, 2], [0, 1, 0], [1, 2, 2]])), make_split(torch.tensor([[0, 0, 1]]))
    scores = baselines.majority_pixel_class(train, test, ["sky", "sea", "land"])
    assert scores["pixel_accuracy"] == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)
    assert scores["iou_sky"] == pytest.approx(2 / 3 / 3)
    assert scores["iou_sea"] == pytest.approx(1 / 3 / 3)
    assert scores["iou_land"] == 0
    assert scores["mean_iou"] == pytest.approx(((2 / 3 + 0) / 2 + (0 + 1 / 3) / 2 + 0) / 3)
