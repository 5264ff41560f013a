"""The seasonal period of a series."""

from __future__ import annotations

import warnings

import numpy as np

MAX_ROWS = 20_000
"""How many rows a period is looked for in: the last ones."""
MAX_ERROR_RATIO = 0.9
"""A period is evident where repeating it errs by less than this share of what repeating the last row does, squared."""
TIE_RATIO = 1.1
"""Of periods that are as good but for this factor the shortest is meant: a week is seven days as well."""


def find_period(series: np.ndarray, history: int, horizon: int) -> int:
    """The period, up to ``history``, that repeated forecasts the next ``horizon`` rows of a series (T, F) best.

    1, the last row again, unless another is evidently better. NaN is a gap.
    """
    series = series[-MAX_ROWS:]
    errors = _lag_errors(series, min(history + horizon, len(series) // 2))
    steps = np.arange(horizon)
    scores = {}
    for period in range(1, history + 1):
        lags = period * (steps // period + 1)  # what a step of the forecast repeats lies so far back
        if lags.max() < len(errors):
            scores[period] = errors[lags].mean()
    scores = {period: score for period, score in scores.items() if np.isfinite(score)}
    if not scores:
        return 1
    least = min(scores.values())
    if 1 in scores and least >= MAX_ERROR_RATIO * scores[1]:
        return 1
    return min(period for period, score in scores.items() if score <= TIE_RATIO * least + 1e-12)


def _lag_errors(series: np.ndarray, most: int) -> np.ndarray:
    """The mean squared difference of rows that are 0, 1, ... ``most`` steps apart, gaps aside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a lag at which every pair has a gap is NaN
        later = [np.nanmean(np.square(series[lag:] - series[:-lag])) for lag in range(1, most + 1)]
    return np.array([0.0, *later])


def describe_seasonal_rule(period: int) -> str:
    return "the last value again" if period == 1 else f"the last {period} steps again"
