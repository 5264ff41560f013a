"""Tables of forecasts: names, units, bounds and targets of each step."""

from __future__ import annotations

import numpy as np
import torch

from trainer.core.dataset_info import DatasetInfo, TargetInfo
from trainer.core.split import TensorSplit
from trainer.data.encoding import forecast_table
from trainer.data.splits.windows import WindowSplit

ONE = DatasetInfo(sizes={}, target=TargetInfo(channel_names=["load"], scale=10.0, mean=100.0))
TWO = DatasetInfo(sizes={}, target=TargetInfo(channel_names=["a", "b"], channel_moments=([0.0, 5.0], [1.0, 2.0])))


def make_windows(channels: int) -> WindowSplit:
    """Return two windows of three steps and a horizon of two."""
    return WindowSplit(torch.zeros(6, channels), 3, 2)


def test_one_series_has_its_name_and_units() -> None:
    fields = {"value": torch.arange(4.0).view(2, 2, 1), "lower": torch.zeros(2, 2, 1), "target": torch.ones(2, 2, 1)}
    table = forecast_table.make_table(fields, make_windows(1), ONE, 1)
    assert {name: np.asarray(cells).tolist() for name, cells in table.items()} == {
        "origin": [3, 3, 4, 4],
        "step": [1, 2, 1, 2],
        "row": [4, 5, 5, 6],
        "load": [100, 110, 120, 130],
        "lower": [100] * 4,
        "target": [110] * 4,
    }


def test_several_series_and_fields_of_a_task() -> None:
    fields = {
        "value": torch.arange(8.0).view(2, 2, 2),
        "upper": torch.ones(2, 2, 2),
        "level": torch.tensor([1.0, 2.0]),
        "spread": torch.arange(4.0).view(2, 2),
    }
    table = forecast_table.make_table(fields, make_windows(2), TWO, 1)
    assert list(table) == ["origin", "step", "row", "a", "b", "upper_a", "upper_b", "level", "spread"]
    assert list(table["a"]) == [0, 2, 4, 6]
    assert list(table["b"]) == [7, 11, 15, 19]
    assert list(table["upper_b"]) == [7] * 4
    assert list(table["level"]) == [1, 1, 2, 2]
    assert list(table["spread"]) == [0, 1, 2, 3]


def test_names_of_series_may_be_those_of_other_columns() -> None:
    info = DatasetInfo(sizes={}, target=TargetInfo(channel_names=["step", "row"]))
    table = forecast_table.make_table({"value": torch.ones(2, 2, 2)}, make_windows(2), info, 1)
    assert list(table) == ["origin", "step", "row", "value_step", "value_row"]
    info = DatasetInfo(sizes={}, target=TargetInfo(channel_names=["target"]))
    fields = {"value": torch.zeros(2, 2, 1), "target": torch.ones(2, 2, 1)}
    table = forecast_table.make_table(fields, make_windows(1), info, 1)
    assert list(table["target"]) == [0] * 4
    assert list(table["target_target"]) == [1] * 4


def test_rows_that_are_no_windows_are_numbered() -> None:
    split = TensorSplit({"x": torch.zeros(2, 3, 1)})
    table = forecast_table.make_table({"value": torch.zeros(2, 2, 1)}, split, DatasetInfo(sizes={}), 5)
    assert list(table) == ["row", "step", "value"]
    assert list(table["row"]) == [5, 5, 6, 6]
    table = forecast_table.make_table({"value": torch.zeros(2, 2, 3)}, split, DatasetInfo(sizes={}), 5)
    assert list(table) == ["row", "step", "value_0", "value_1", "value_2"]
