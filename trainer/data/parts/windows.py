"""Windows over a long series: the past to read and the future to predict, cut out when asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.data.base import TensorSplit
from trainer.data.parts import baselines
from trainer.errors import ConfigError


class WindowSplit(TensorSplit):
    """Every window of ``history + horizon`` steps in a series (T, F), each starting one step after the one before.

    x (N, history, F) and the target (N, horizon, F) are views: memory holds the series once, on any device, however
    long the windows are. ``nbytes`` counts the rows as they are handed out.
    """

    def __init__(self, series: Tensor, history: int, horizon: int):
        windows = series.unfold(0, history + horizon, 1).transpose(1, 2)  # (N, history + horizon, F)
        super().__init__({"x": windows[:, :history]}, windows[:, history:])
        self.series = series
        self.history = history
        self.horizon = horizon

    def to(self, device: torch.device) -> WindowSplit:
        return WindowSplit(self.series.to(device), self.history, self.horizon)


def chronological(
    series: Tensor, ends: Sequence[int], history: int, horizon: int
) -> tuple[WindowSplit, WindowSplit, WindowSplit]:
    """Training, validation and test windows of a series (T, F): each split predicts the rows up to its end.

    The targets of no two splits overlap. The first validation and test windows read the rows just before their
    split, as a forecast in use would; no training window sees anything from the training end on.

    Raises ConfigError when a split has too few rows for one window.
    """
    train, val, test = ends
    needed = {"train": (train, history + horizon), "val": (val - train, horizon), "test": (test - val, horizon)}
    for name, (rows, least) in needed.items():
        if rows < least:
            raise ConfigError(
                f"data: history {history} and horizon {horizon} need {least} rows; the {name} split has {rows}"
            )
    starts = (0, train - history, val - history)
    first, second, third = (
        WindowSplit(series[start:end], history, horizon) for start, end in zip(starts, ends, strict=True)
    )
    return first, second, third


def repeat(split: TensorSplit, period: int) -> dict[str, float]:
    """Scores of saying that the last ``period`` steps come again; with 1, that nothing changes."""
    target = split.target
    assert target is not None
    places = torch.arange(target.shape[1]) % period - period
    return baselines.errors(split.inputs["x"][:, places], target)
