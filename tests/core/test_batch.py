"""Scores accumulated over batches of any size equal those of the whole split."""

from __future__ import annotations

import pytest
import torch

from trainer.core.batch import Batch, RowValues, ScoreAccumulator


def test_sums_are_added_and_row_values_concatenated() -> None:
    totals = ScoreAccumulator()
    for part in (torch.tensor([1.0, 2.0]), torch.tensor([3.0]), torch.tensor([4.0, 5.0, 6.0])):
        totals.update({"sum": part.sum(), "count": torch.tensor(len(part)), "rows": RowValues(part)})
    reduced = totals.compute_totals()
    assert reduced["sum"] == 21
    assert reduced["count"] == 6
    assert reduced["rows"].tolist() == [1, 2, 3, 4, 5, 6]


def test_accumulating_scores_does_not_modify_them() -> None:
    score = torch.tensor([1.0])
    totals = ScoreAccumulator()
    totals.update({"sum": score})
    totals.update({"sum": score})
    totals.update({"sum": score})
    assert score.item() == 1
    assert totals.compute_totals()["sum"].item() == 3


def test_a_small_last_batch_is_weighted_by_its_size() -> None:
    values = torch.arange(10.0)
    totals = ScoreAccumulator()
    for part in values.split(4):
        totals.update({"sum": part.sum(), "count": torch.tensor(len(part))})
    reduced = totals.compute_totals()
    assert reduced["sum"] / reduced["count"] == values.mean()
    assert torch.stack([part.mean() for part in values.split(4)]).mean() != values.mean()


@pytest.mark.parametrize("target", [None, torch.zeros(3)])
def test_batch_to_device_moves_inputs_and_target(target: torch.Tensor | None) -> None:
    batch = Batch({"x": torch.zeros(3, 2), "lengths": torch.ones(3)}, target, torch.arange(3))
    moved = batch.to(torch.device("meta"))
    assert len(moved) == 3
    assert {value.device.type for value in moved.inputs.values()} == {"meta"}
    assert (moved.target is None) == (target is None)
    assert moved.target is None or moved.target.device.type == "meta"
    assert moved.index.tolist() == [0, 1, 2]
