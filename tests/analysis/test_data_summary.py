"""What a plan says about data, by data sets with known faults."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.analysis.data_summary import summarize
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.split import TensorSplit


class Rows(Dataset):
    def __init__(self, train: Tensor, val: Tensor, test: Tensor, target: Tensor | None = None):
        self.info = DatasetInfo(sizes={})
        self.train = TensorSplit({"x": train}, target)
        self.val, self.test = TensorSplit({"x": val}), TensorSplit({"x": test})


def draw(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))


def list_lines(train: Tensor, val: Tensor, test: Tensor, target: Tensor | None = None) -> list[str]:
    lines: list[str] = summarize(Rows(train, val, test, target))["lines"]
    return lines


def test_healthy_rows_have_no_lines() -> None:
    assert list_lines(draw(20, 0), draw(5, 1), draw(5, 2)) == []


def test_rows_in_two_splits_are_counted() -> None:
    train = draw(20, 0)
    assert list_lines(train, draw(5, 1), torch.cat([draw(4, 2), train[:3]])) == [
        "3 of 7 test rows are training rows, too"
    ]


def test_repeated_rows_are_counted() -> None:
    train = draw(20, 0)
    assert list_lines(torch.cat([train, train[:2]]), draw(5, 1), draw(5, 2)) == [
        "2 of 22 training rows repeat another one"
    ]


def test_constant_columns_are_named() -> None:
    train = draw(20, 0)
    train[:, 1] = 7.0
    assert list_lines(train, draw(5, 1), draw(5, 2)) == ["constant columns: 1"]


def test_missing_values_are_counted() -> None:
    val = draw(5, 1)
    val[0, :] = torch.nan
    assert list_lines(draw(20, 0), val, draw(5, 2)) == ["missing values (NaN): 20.00% of val"]


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ([10, 30], "2 classes: 25.0% to 75.0% of the rows"),
        ([1, 0, 199], "3 classes: 0.5% to 99.5% of the rows; 1 below 1 %, 1 without training rows"),
    ],
)
def test_the_balance_of_classes(counts: list[int], line: str) -> None:
    target = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    assert list_lines(draw(len(target), 0), draw(5, 1), draw(5, 2), target) == [line]
