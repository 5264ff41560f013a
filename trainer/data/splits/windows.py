"""Windows over a long series: the past to read and the future to predict, cut out when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.core.batch import Batch
from trainer.core.dataset import TensorSplit
from trainer.data.encoding.standardization import MAX_STANDARDIZED_VALUE, is_constant
from trainer.data.reference import baselines
from trainer.utils.errors import ConfigError

CHUNK_ROWS = 1024
"""How many windows a trivial rule looks at together."""
STANDARDIZED_UNIT = "standardized"
"""What values are told in that are standard deviations from the mean."""


class WindowSplit(TensorSplit):
    """Windows of ``history + horizon`` steps in a series (T, F): at every step, or at ``starts`` (N,) alone.

    x (N, history, F) and the target (N, horizon, F) are views: memory holds the series once, on any device, however
    long the windows are. ``nbytes`` counts the rows as they are handed out. With ``fill``, gaps (NaN) in x are filled
    as a batch is made, each window by itself: what is read knows nothing of what is predicted.
    """

    def __init__(self, series: Tensor, history: int, horizon: int, starts: Tensor | None = None, fill: bool = False):
        windows = series.unfold(0, history + horizon, 1).transpose(1, 2)  # (N, history + horizon, F)
        super().__init__({"x": windows[:, :history]}, windows[:, history:])
        self.series = series
        self.history = history
        self.horizon = horizon
        self.starts = starts
        self.fill = fill
        if starts is not None:
            self._length = len(starts)

    def get_targets(self) -> Tensor | None:
        target = self.require_target()
        return target if self.starts is None else target[self.starts]

    def batch(self, index: Tensor, epoch: int) -> Batch:
        if self.starts is None:
            return super().batch(index, epoch)
        index = index.to(self.starts.device)
        found = super().batch(self.starts[index], epoch)
        inputs = {"x": interpolate_gaps(found.inputs["x"])} if self.fill else found.inputs
        return replace(found, inputs=inputs, index=index)

    def to(self, device: torch.device) -> WindowSplit:
        starts = None if self.starts is None else self.starts.to(device)
        return WindowSplit(self.series.to(device), self.history, self.horizon, starts, self.fill)


def interpolate_gaps(x: Tensor) -> Tensor:
    """Straight lines over the gaps (NaN) of each column of each window x (N, T, F), between values of that window.

    Before a column's first value and after its last stands that value. A column without any stays as it is.
    """
    known, last = ~x.isnan(), x.shape[1] - 1
    steps = torch.arange(last + 1, device=x.device)[None, :, None].expand_as(x)
    before = steps.where(known, -1).cummax(1).values
    after = steps.where(known, last + 1).flip(1).cummin(1).values.flip(1)
    left = before.where(before >= 0, after).clamp(max=last)
    right = after.where(after <= last, before).clamp(min=0)
    low, high = x.gather(1, left), x.gather(1, right)
    return x.where(known, low + (high - low) * ((steps - left) / (right - left).clamp(min=1)))


def chronological_splits(
    series: Tensor, ends: Sequence[int], history: int, horizon: int, fill: bool = False
) -> tuple[WindowSplit, WindowSplit, WindowSplit]:
    """Training, validation and test windows of a series (T, F): each split predicts the rows up to its end.

    The targets of no two splits overlap. The first validation and test windows read the rows just before their
    split, as a forecast in use would; no training window sees anything from the training end on. A window with a gap
    (NaN) is left out; with ``fill`` only one that would predict a gap, or read a column of nothing else.

    Raises ConfigError when a split has too few rows for one window, or no window that is left.
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
        _find_usable_starts(series[start:end], history, horizon, fill, name)
        for start, end, name in zip(starts, ends, needed, strict=True)
    )
    return first, second, third


def _find_usable_starts(series: Tensor, history: int, horizon: int, fill: bool, name: str) -> WindowSplit:
    """The windows without a gap, or without one that cannot be filled."""
    known = series.isfinite()
    if known.all():
        return WindowSplit(series, history, horizon)
    whole = known.all(1)
    if fill:
        can_read = known[:-horizon].unfold(0, history, 1).any(-1).all(1)
        usable = can_read & whole[history:].unfold(0, horizon, 1).all(1)
    else:
        usable = whole.unfold(0, history + horizon, 1).all(1)
    starts = usable.nonzero().squeeze(1)
    if not len(starts):
        what = "predicts a gap, or reads a column of gaps alone" if fill else "holds a gap"
        raise ConfigError(f"data: every window of {history + horizon} steps in the {name} split {what}")
    return WindowSplit(series, history, horizon, starts, fill)


def column_moments(series: np.ndarray) -> dict[str, list[float]]:
    """The mean and deviation of each column of a series (T, F), gaps (NaN) aside."""
    spread, mean = np.nanstd(series, axis=0), np.nanmean(series, axis=0)
    spread[is_constant(spread, mean, len(series))] = 1.0
    return {"mean": mean.tolist(), "std": spread.tolist()}


def standardize_series(series: np.ndarray, by: Mapping[str, Sequence[float]]) -> tuple[Tensor, np.ndarray]:
    """A series (T, F) by a mean and a deviation of each column, and those deviations (F,).

    Raises ConfigError for a number too far from the mean to be computed with.
    """
    mean, spread = np.array(by["mean"]), np.array(by["std"])
    scaled = (series - mean) / spread
    far = np.argwhere(np.abs(scaled) > MAX_STANDARDIZED_VALUE)
    if len(far):
        row, column = far[0]
        raise ConfigError(
            f"data: step {row + 1}, series {column + 1}: {series[row, column]:g} is more than "
            f"{MAX_STANDARDIZED_VALUE:g} deviations"
            " from the mean of the steps for training; if it stands for a gap, data.missing lists those"
        )
    return torch.from_numpy(scaled).float(), spread


def forecast_sizes(split: WindowSplit) -> Mapping[str, int]:
    """What a forecaster must know of its data."""
    channels = split.series.shape[1]
    return {
        "in_features": channels,
        "seq_len": split.history,
        "horizon": split.horizon,
        "flat_features": split.history * channels,
    }


def channel_info(names: Sequence[str], by: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """The facts that tell the columns of a series apart, and several of them in their own units."""
    if len(by["std"]) == 1:
        return {"channel_names": names}
    return {"channel_names": names, "channel_scale": (by["mean"], by["std"]), "target_unit": STANDARDIZED_UNIT}


def seasonal_naive_scores(split: TensorSplit, period: int, scale: float = 1.0) -> dict[str, float]:
    """Scores of saying that the last ``period`` steps come again; with 1, that nothing changes."""
    target = split.get_targets()
    assert target is not None
    places = torch.arange(target.shape[1]) % period - period
    # As batches are made, with gaps filled, and some at a time: all histories at once may be too much for memory.
    parts = [split.batch(rows, 0).inputs["x"][:, places] for rows in torch.arange(len(split)).split(CHUNK_ROWS)]
    return baselines.regression_scores(torch.cat(parts), target, scale)


def best_naive_scores(split: WindowSplit, periods: Iterable[int], scale: float = 1.0) -> tuple[dict[str, float], int]:
    """Scores of the best such rule of which the history holds a period, and that period."""
    rules = [(seasonal_naive_scores(split, period, scale), period) for period in periods if period <= split.history]
    return min(rules, key=lambda rule: rule[0]["mse"])
