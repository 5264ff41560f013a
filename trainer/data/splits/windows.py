"""Sliding windows over a series for forecasting, created on access."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from trainer.core.batch import Batch
from trainer.core.dataset_info import TargetInfo
from trainer.core.device_copy import copy_to_device
from trainer.core.prediction_columns import Column
from trainer.core.preprocessing import SPLITS
from trainer.core.split import TensorSplit
from trainer.data.encoding.series_index import ROW_NUMBERS, SeriesIndex
from trainer.data.encoding.standardization import MAX_STANDARDIZED_VALUE, is_constant
from trainer.data.reference import baselines
from trainer.utils.errors import DataError

CHUNK_ROWS = 1024
"""Number of windows per chunk when scoring naive forecasts."""
STANDARDIZED_UNIT = "standardized"
"""Unit of values in standard deviations from the mean."""


class WindowSplit(TensorSplit):
    """Windows of ``history + horizon`` steps of a series (T, F), at every step or at ``starts`` (N,).

    x (N, history, F) and the target (N, horizon, F) are views, so the series is stored once on any device. With
    ``fill``, missing values (NaN) in x are interpolated per window when a batch is created, so that inputs do not
    depend on targets.

    Args:
        series: Series, (T, F).
        history: Number of input steps.
        horizon: Number of target steps.
        starts: First step of each window, (N,); None for every step.
        fill: Whether missing inputs are interpolated.
        index: Names of the steps of the series.
        has_targets: Whether windows have targets; those without may end at the end of the series.
    """

    def __init__(
        self,
        series: Tensor,
        history: int,
        horizon: int,
        starts: Tensor | None = None,
        fill: bool = False,
        index: SeriesIndex = ROW_NUMBERS,
        has_targets: bool = True,
    ):
        steps = history + horizon if has_targets else history
        windows = series.unfold(0, steps, 1).transpose(1, 2)  # (N, history + horizon, F)
        super().__init__({"x": windows[:, :history]}, windows[:, history:] if has_targets else None)
        self.series = series
        self.history = history
        self.horizon = horizon
        self.starts = starts
        self.fill = fill
        self.index = index
        if starts is not None:
            self._length = len(starts)

    def get_targets(self) -> Tensor | None:
        return self.target if self.target is None or self.starts is None else self.target[self.starts]

    def get_output_columns(self, first: int) -> dict[str, Column]:
        return {"origin": self._name_steps(np.array([self.history - 1]))[:, 0]}

    def get_target_columns(self) -> dict[str, np.ndarray]:
        """Return the names (N, horizon) of the steps that are predicted, by title."""
        return {self.index.title: self._name_steps(self.history + np.arange(self.horizon))}

    def _name_steps(self, offsets: np.ndarray) -> np.ndarray:
        """Return the names (N, K) of the steps at ascending offsets (K,) from the start of each window."""
        starts = np.arange(len(self)) if self.starts is None else self.starts.cpu().numpy()
        first, stop = int(starts.min() + offsets[0]), int(starts.max() + offsets[-1] + 1)
        return self.index.get_names(first, stop)[starts[:, None] + offsets - first]

    def batch(self, index: Tensor, epoch: int) -> Batch:
        if self.starts is None:
            return super().batch(index, epoch)
        index = copy_to_device(index, self.starts.device)
        batch = super().batch(self.starts[index], epoch)
        inputs = {"x": interpolate_gaps(batch.inputs["x"])} if self.fill else batch.inputs
        return replace(batch, inputs=inputs, index=index)

    def to(self, device: torch.device) -> WindowSplit:
        return self._copy(self.series.to(device), None if self.starts is None else self.starts.to(device))

    def iter_chunks(self, size: int) -> Iterator[WindowSplit]:
        """Yield the windows in splits of at most ``size`` windows, which share the series."""
        starts = torch.arange(len(self)) if self.starts is None else self.starts
        return (self._copy(self.series, part) for part in starts.split(size))

    def _copy(self, series: Tensor, starts: Tensor | None) -> WindowSplit:
        has_targets = self.target is not None
        return WindowSplit(series, self.history, self.horizon, starts, self.fill, self.index, has_targets)


def interpolate_gaps(x: Tensor) -> Tensor:
    """Interpolate missing values (NaN) linearly in each column of each window x (N, T, F).

    Before the first and after the last value of a column, that value is repeated. A column without values is unchanged.
    """
    is_known, last = ~x.isnan(), x.shape[1] - 1
    steps = torch.arange(last + 1, device=x.device)[None, :, None].expand_as(x)
    previous = steps.where(is_known, -1).cummax(1).values
    following = steps.where(is_known, last + 1).flip(1).cummin(1).values.flip(1)
    left = previous.where(previous >= 0, following).clamp(max=last)
    right = following.where(following <= last, previous).clamp(min=0)
    low, high = x.gather(1, left), x.gather(1, right)
    return x.where(is_known, low + (high - low) * ((steps - left) / (right - left).clamp(min=1)))


def chronological_splits(
    series: Tensor,
    ends: Sequence[int],
    history: int,
    horizon: int,
    fill: bool = False,
    index: SeriesIndex = ROW_NUMBERS,
) -> tuple[WindowSplit, WindowSplit, WindowSplit]:
    """Return training, validation and test windows of a series (T, F); each split predicts the rows up to its end.

    Targets of different splits do not overlap. The first validation and test windows read the rows before their split,
    as in deployment; training windows end at the training end. Windows with missing values (NaN) are skipped; with
    ``fill`` only those with a missing target or a column without values.

    Args:
        series: Standardized series, (T, F).
        ends: End row of each split.
        history: Number of input steps.
        horizon: Number of target steps.
        fill: Whether missing inputs are interpolated.
        index: Names of the steps of the series.

    Raises:
        DataError: A split has too few rows for one window, or no usable window.
    """
    train, val, test = ends
    rows_and_minima = (train, history + horizon), (val - train, horizon), (test - val, horizon)
    for name, (rows, min_rows) in zip(SPLITS, rows_and_minima, strict=True):
        if rows < min_rows:
            raise DataError(
                f"history {history} and horizon {horizon} need {min_rows} rows; the {name} split has {rows}"
            )
    starts = (0, train - history, val - history)
    train_split, val_split, test_split = (
        _make_usable_windows(series[start:end], history, horizon, fill, name, index.shift(start))
        for start, end, name in zip(starts, ends, SPLITS, strict=True)
    )
    return train_split, val_split, test_split


def _make_usable_windows(
    series: Tensor, history: int, horizon: int, fill: bool, name: str, index: SeriesIndex
) -> WindowSplit:
    """Return the windows without missing values, or with ``fill``, without those that cannot be interpolated."""
    if series.isfinite().all():
        return WindowSplit(series, history, horizon, index=index)
    starts = find_usable_starts(series, history, horizon, fill)
    if not len(starts):
        reason = "has a missing target or a column without values" if fill else "has a missing value"
        raise DataError(f"every window of {history + horizon} steps in the {name} split {reason}")
    return WindowSplit(series, history, horizon, starts, fill, index)


def find_usable_starts(series: Tensor, history: int, horizon: int, fill: bool) -> Tensor:
    """Return the first step (N,) of each window without missing values.

    Args:
        series: Series (T, F), NaN for missing values.
        history: Number of input steps.
        horizon: Number of target steps; 0 for windows without targets.
        fill: Whether missing inputs are interpolated; windows with a missing target or a column without values are not.
    """
    is_known = series.isfinite()
    if not fill:
        return is_known.all(1).unfold(0, history + horizon, 1).all(1).nonzero().squeeze(1)
    is_usable = is_known[: len(series) - horizon].unfold(0, history, 1).any(-1).all(1)
    if horizon:
        is_usable = is_usable & is_known.all(1)[history:].unfold(0, horizon, 1).all(1)
    return is_usable.nonzero().squeeze(1)


def column_moments(series: np.ndarray) -> dict[str, list[float]]:
    """Return mean and standard deviation of each column of a series (T, F), ignoring NaN."""
    std, mean = np.nanstd(series, axis=0), np.nanmean(series, axis=0)
    std[is_constant(std, mean, len(series))] = 1.0
    return {"mean": mean.tolist(), "std": std.tolist()}


def standardize_series(series: np.ndarray, moments: Mapping[str, Sequence[float]]) -> tuple[Tensor, np.ndarray]:
    """Standardize a series (T, F) by mean and standard deviation of each column; also return the latter (F,).

    Args:
        series: Series, (T, F).
        moments: Mean and standard deviation of each column, from ``column_moments``.

    Raises:
        DataError: A value is far outside of the training range.
    """
    mean, std = np.array(moments["mean"]), np.array(moments["std"])
    scaled = (series - mean) / std
    outliers = np.argwhere(np.abs(scaled) > MAX_STANDARDIZED_VALUE)
    if len(outliers):
        row, column = outliers[0]
        raise DataError(
            f"data: step {row + 1}, series {column + 1}: {series[row, column]:g} is more than "
            f"{MAX_STANDARDIZED_VALUE:g} standard deviations"
            " from the mean of the training steps; if it encodes a missing value, add it to data.missing"
        )
    return torch.from_numpy(scaled).float(), std


def forecast_sizes(split: WindowSplit) -> Mapping[str, int]:
    """Return the sizes of a forecasting data set."""
    channels = split.series.shape[1]
    return {
        "in_features": channels,
        "seq_len": split.history,
        "horizon": split.horizon,
        "flat_features": split.history * channels,
    }


def channel_info(names: Sequence[str], moments: Mapping[str, Sequence[float]]) -> TargetInfo:
    """Return the target info of standardized channels: names and, for several, their moments and the unit.

    Args:
        names: Column names.
        moments: Mean and standard deviation of each column, from ``column_moments``.
    """
    if len(moments["std"]) == 1:
        return TargetInfo(channel_names=names)
    return TargetInfo(channel_names=names, channel_moments=(moments["mean"], moments["std"]), unit=STANDARDIZED_UNIT)


def seasonal_naive_scores(split: TensorSplit, period: int, scale: float = 1.0) -> dict[str, float]:
    """Compute the scores of the seasonal naive forecast, which repeats the last ``period`` steps.

    Args:
        split: Test windows.
        period: Number of steps that are repeated.
        scale: Factor from targets to the original units.
    """
    target = split.get_targets()
    assert target is not None
    steps = torch.arange(target.shape[1]) % period - period
    # Use batches, which interpolate missing values, in chunks: all histories at once may exceed memory.
    parts = [split.batch(rows, 0).inputs["x"][:, steps] for rows in torch.arange(len(split)).split(CHUNK_ROWS)]
    return baselines.regression_scores(torch.cat(parts), target, scale)


def best_naive_scores(split: WindowSplit, periods: Iterable[int], scale: float = 1.0) -> tuple[dict[str, float], int]:
    """Return the scores and the period of the best seasonal naive forecast with a period up to ``history``.

    Args:
        split: Test windows.
        periods: Candidate periods in steps.
        scale: Factor from targets to the original units.
    """
    rules = [(seasonal_naive_scores(split, period, scale), period) for period in periods if period <= split.history]
    return min(rules, key=lambda rule: rule[0]["mse"])
