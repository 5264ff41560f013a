"""Digits of some classes, and a limited number of training rows."""

from __future__ import annotations

import pytest
import torch

from trainer.data.datasets.image.digits import Digits
from trainer.utils.errors import DataError


def test_selected_classes_are_numbered_in_the_given_order() -> None:
    data = Digits(8, classes=[7, 1])
    everything = Digits(8)
    digits = {
        digit: {
            tuple(x.flatten().tolist())
            for split in (everything.train, everything.val, everything.test)
            for x in split.inputs["x"][split.require_target() == digit]
        }
        for digit in (7, 1)
    }
    for split in (data.train, data.val, data.test):
        for number, digit in enumerate((7, 1)):
            rows = split.inputs["x"][split.require_target() == number]
            assert {tuple(x.flatten().tolist()) for x in rows} <= digits[digit]
    assert data.info.class_names == ["7", "1"]
    assert (data.info.sizes["num_classes"], data.info.sizes["out_features"]) == (2, 1)
    assert sum(map(len, (data.train, data.val, data.test))) == sum(map(len, digits.values()))


def test_fewer_training_rows_are_stratified_and_leave_the_other_splits() -> None:
    data, limited = (Digits(8, classes=[5, 6, 7, 8, 9], train_rows=rows) for rows in (None, 100))
    assert limited.train.require_target().bincount().tolist() == [20] * 5
    assert torch.equal(limited.train.inputs["x"], data.train.inputs["x"][:100])
    for name in ("val", "test"):
        assert torch.equal(getattr(limited, name).inputs["x"], getattr(data, name).inputs["x"])


@pytest.mark.parametrize("classes", [[3], [], [1, 1], [0, 10]])
def test_invalid_classes_are_refused(classes: list[int]) -> None:
    with pytest.raises(DataError, match=r"classes: .* two or more different digits of 0 to 9"):
        Digits(8, classes=classes)


def test_too_many_training_rows_are_refused() -> None:
    with pytest.raises(DataError, match="train_rows: 5000 given; the training split has 1079 rows"):
        Digits(8, train_rows=5000)
