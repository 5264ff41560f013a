"""Period of a series, found in the training rows, and the naive forecast as baseline."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.lab import configure
from trainer.data.datasets.series.csv_series import CSVSeries
from trainer.data.encoding.seasonality import find_period

NOISE = np.random.default_rng(0).normal(size=2000)


def make_sine(period: float, noise: float = 0.1, rows: int = 1000) -> np.ndarray:
    return (np.sin(2 * math.pi * np.arange(rows) / period) + noise * NOISE[:rows])[:, None]


@pytest.mark.parametrize("period", [7, 12, 24])
def test_find_period_of_noisy_sine_with_gaps(period: int) -> None:
    assert find_period(make_sine(period), 3 * period, 6) == period
    gaps = make_sine(period)
    gaps[::13] = np.nan
    assert find_period(gaps, 3 * period, 6) == period


@pytest.mark.parametrize(
    ("series", "history"),
    [(NOISE[:, None].cumsum(0), 48), (make_sine(24), 12), (np.arange(200.0)[:, None], 48), (np.ones((200, 1)), 48)],
    ids=["a random walk", "a period beyond the history", "a line", "a constant"],
)
def test_find_period_without_seasonality_returns_1(series: np.ndarray, history: int) -> None:
    assert find_period(series, history, 3) == 1


def load(path: Path, values: np.ndarray, **changes: object) -> CSVSeries:
    path.write_text("\n".join(["v", *(f"{value:.5f}" for value in values[:, 0])]))
    keys = configure("model=dlinear", "data=csv_series", f"data.path={path}")["data"]
    return CSVSeries(**{k: v for k, v in keys.items() if k != "_target_"} | {"history": 48, "horizon": 12} | changes)


@pytest.mark.slow
def test_better_naive_forecast_is_the_baseline(tmp_path: Path) -> None:
    daily = load(tmp_path / "s.csv", make_sine(24))
    assert daily.info.baseline_rule == "the last 24 steps again"
    assert daily.info.baseline["mse"] == pytest.approx(0.02, rel=0.3)
    plain = load(tmp_path / "s.csv", make_sine(24), period=1)
    assert plain.info.baseline_rule == "the last value again"
    assert plain.info.baseline["mse"] > 5 * daily.info.baseline["mse"]
    assert daily.info.file_summary[0] == "s.csv: 1000 rows, with a header"
    assert daily.info.file_summary[1].startswith("v: number, mean ")


def test_period_of_test_rows_is_not_used(tmp_path: Path) -> None:
    values = make_sine(24)
    values[600:] = make_sine(7)[600:]
    assert load(tmp_path / "s.csv", values).info.baseline_rule in ("the last 24 steps again", "the last value again")
