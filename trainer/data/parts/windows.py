"""Windows over a long series: the past to read and the future to predict, cut out when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from trainer.batch import Batch
from trainer.data.base import TensorSplit
from trainer.data.parts import baselines
from trainer.data.parts.scaling import FARTHEST, is_constant
from trainer.errors import ConfigError


class WindowSplit(TensorSplit):
    """Windows of ``history + horizon`` steps in a series (T, F): at every step, or at ``starts`` (N,) alone.

    x (N, history, F) and the target (N, horizon, F) are views: memory holds the series once, on any device, however
    long the windows are. ``nbytes`` counts the rows as they are handed out.
    """

    def __init__(self, series: Tensor, history: int, horizon: int, starts: Tensor | None = None):
        windows = series.unfold(0, history + horizon, 1).transpose(1, 2)  # (N, history + horizon, F)
        super().__init__({"x": windows[:, :history]}, windows[:, history:])
        self.series = series
        self.history = history
        self.horizon = horizon
        self.starts = starts
        if starts is not None:
            self._length = len(starts)

    def targets(self) -> Tensor | None:
        assert self.target is not None
        return self.target if self.starts is None else self.target[self.starts]

    def batch(self, index: Tensor, epoch: int) -> Batch:
        if self.starts is None:
            return super().batch(index, epoch)
        index = index.to(self.starts.device)
        return replace(super().batch(self.starts[index], epoch), index=index)

    def to(self, device: torch.device) -> WindowSplit:
        starts = None if self.starts is None else self.starts.to(device)
        return WindowSplit(self.series.to(device), self.history, self.horizon, starts)


def chronological(
    series: Tensor, ends: Sequence[int], history: int, horizon: int
) -> tuple[WindowSplit, WindowSplit, WindowSplit]:
    """Training, validation and test windows of a series (T, F): each split predicts the rows up to its end.

    The targets of no two splits overlap. The first validation and test windows read the rows just before their
    split, as a forecast in use would; no training window sees anything from the training end on. A window with a gap
    (NaN) is left out.

    Raises ConfigError when a split has too few rows for one window, or no window without a gap.
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
        _whole(series[start:end], history, horizon, name) for start, end, name in zip(starts, ends, needed, strict=True)
    )
    return first, second, third


def _whole(series: Tensor, history: int, horizon: int, name: str) -> WindowSplit:
    """The windows without a gap."""
    known = series.isfinite().all(1)
    if known.all():
        return WindowSplit(series, history, horizon)
    starts = known.unfold(0, history + horizon, 1).all(1).nonzero().squeeze(1)
    if not len(starts):
        raise ConfigError(f"data: every window of {history + horizon} steps in the {name} split holds a gap")
    return WindowSplit(series, history, horizon, starts)


def standardised(series: np.ndarray, rows: int) -> tuple[Tensor, np.ndarray]:
    """A series (T, F) by mean and deviation of its first ``rows``, gaps (NaN) aside, and those deviations (F,).

    Raises ConfigError for a number too far from them to be computed with.
    """
    fitted = series[:rows]
    spread, mean = np.nanstd(fitted, axis=0), np.nanmean(fitted, axis=0)
    spread[is_constant(spread, mean, rows)] = 1.0
    scaled = (series - mean) / spread
    far = np.argwhere(np.abs(scaled) > FARTHEST)
    if len(far):
        row, column = far[0]
        raise ConfigError(
            f"data: step {row + 1}, series {column + 1}: {series[row, column]:g} is more than {FARTHEST:g} deviations"
            f" from the mean of the {rows} steps for training; if it stands for a gap, data.missing lists those"
        )
    return torch.from_numpy(scaled).float(), spread


def sizes(split: WindowSplit) -> Mapping[str, int]:
    """What a forecaster must know of its data."""
    channels = split.series.shape[1]
    return {
        "in_features": channels,
        "seq_len": split.history,
        "horizon": split.horizon,
        "flat_features": split.history * channels,
    }


def repeat(split: TensorSplit, period: int, scale: float = 1.0) -> dict[str, float]:
    """Scores of saying that the last ``period`` steps come again; with 1, that nothing changes."""
    target = split.targets()
    assert target is not None
    starts = split.starts if isinstance(split, WindowSplit) else None
    rows = torch.arange(len(split)) if starts is None else starts
    places = torch.arange(target.shape[1]) % period - period
    return baselines.errors(split.inputs["x"][rows[:, None], places], target, scale)


def usual_rule(split: WindowSplit, periods: Iterable[int], scale: float = 1.0) -> tuple[dict[str, float], int]:
    """Scores of the best such rule of which the history holds a period, and that period."""
    rules = [(repeat(split, period, scale), period) for period in periods if period <= split.history]
    return min(rules, key=lambda rule: rule[0]["mse"])
