"""Estimation of the seasonal period of a series."""

from __future__ import annotations

import warnings

import numpy as np

MAX_ROWS = 20_000
"""Number of last rows used for the estimate."""
MAX_ERROR_RATIO = 0.9
"""Maximum ratio of the squared error of a seasonal naive forecast to that of the naive forecast."""
TIE_RATIO = 1.1
"""Among periods whose errors differ by less than this factor the shortest is chosen, to avoid its multiples."""


def find_period(series: np.ndarray, history: int, horizon: int) -> int:
    """Return the period, up to ``history``, of the best seasonal naive forecast over ``horizon`` rows.

    It is 1 (repeat the last row) unless another period is clearly better.

    Args:
        series: Series (T, F), NaN for missing values.
        history: Maximum period.
        horizon: Number of forecast rows.
    """
    series = series[-MAX_ROWS:]
    errors = _lag_errors(series, min(history + horizon, len(series) // 2))
    steps = np.arange(horizon)
    scores = {}
    for period in range(1, history + 1):
        lags = period * (steps // period + 1)  # distance of each step to the row it repeats
        if lags.max() < len(errors):
            scores[period] = errors[lags].mean()
    scores = {period: score for period, score in scores.items() if np.isfinite(score)}
    if not scores:
        return 1
    least = min(scores.values())
    if 1 in scores and least >= MAX_ERROR_RATIO * scores[1]:
        return 1
    return min(period for period, score in scores.items() if score <= TIE_RATIO * least + 1e-12)


def _lag_errors(series: np.ndarray, max_lag: int) -> np.ndarray:
    """Return the mean squared difference at lags 0, 1, ... ``max_lag``, ignoring missing values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a lag without complete pairs is NaN
        errors = [np.nanmean(np.square(series[lag:] - series[:-lag])) for lag in range(1, max_lag + 1)]
    return np.array([0.0, *errors])


def describe_seasonal_rule(period: int) -> str:
    return "the last value again" if period == 1 else f"the last {period} steps again"
