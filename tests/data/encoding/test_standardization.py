"""Standardization: columns constant up to rounding, and extreme values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.small_tables import load, problem, write
from trainer.data.encoding.standardization import is_constant, mean_and_scale, tensor_mean_and_scale
from trainer.data.splits import windows
from trainer.utils.errors import DataError


@pytest.mark.parametrize("value", [0.0, 0.1, -7e15, 1e8 / 3, 1e-9])
@pytest.mark.parametrize("count", [3, 72, 1000])
def test_a_constant_has_zero_deviation_despite_rounding(value: float, count: int) -> None:
    values = np.full(count, value)
    assert mean_and_scale(values)[1] == 1.0
    assert float(tensor_mean_and_scale(torch.from_numpy(values)[:, None])[1]) == 1.0
    assert float(tensor_mean_and_scale(torch.full((count, 1), value, dtype=torch.float32))[1]) == 1.0


def test_deviation_above_rounding_error_is_the_scale() -> None:
    values = 1e6 + np.array([0.0, 1e-3] * 50)
    assert mean_and_scale(values)[1] == pytest.approx(5e-4, rel=1e-4)


@pytest.mark.parametrize("spread", [1e-17, 1e-14, 1e-12, 1e-9])
def test_is_constant_matches_scikit_learn(spread: float) -> None:
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    values = 0.1 * (1 + spread * np.random.default_rng(0).normal(size=100))
    scaler = preprocessing.StandardScaler().fit(values[:, None])
    assert bool(is_constant(values.std(), values.mean(), 100)) is bool(scaler.scale_[0] == 1.0)


def test_a_column_constant_in_training_stays_finite_in_testing(tmp_path: Path) -> None:
    parts = ["train"] * 72 + ["val", "test"] * 24
    lines = ["a,c,y,part", *(f"{i % 7},{0.1 if p == 'train' else 0.2},{i % 2},{p}" for i, p in enumerate(parts))]
    data = load(write(tmp_path, lines), split_column="part")
    assert float(data.test.inputs["x"].abs().max()) < 10  # type: ignore[attr-defined]
    data = load(write(tmp_path, lines), "c", split_column="part", target_kind="number")
    assert data.info.target.scale == 1.0
    assert data.info.baseline["mse"] == pytest.approx(0.01)


def test_a_channel_constant_in_training_stays_finite_in_testing() -> None:
    series = np.stack([np.arange(100.0), np.full(100, 0.1)], 1)
    series[80:, 1] = 0.2
    scaled, spread = windows.standardize_series(series, windows.column_moments(series[:60]))
    assert spread[1] == 1.0
    assert float(scaled.abs().max()) < 10


def test_an_extreme_time_step_is_reported() -> None:
    series = np.arange(100.0)[:, None]
    series[90] = 1e60
    with pytest.raises(DataError, match=r"step 91, series 1: 1e\+60 is more than 1e\+15 standard deviations"):
        windows.standardize_series(series, windows.column_moments(series[:60]))


def test_an_extreme_value_is_reported(tmp_path: Path) -> None:
    lines = ["a,y", *(f"{i % 7},{i % 2}" for i in range(60))]
    parts = ["part", *(["train"] * 40 + ["val", "test"] * 10)]
    lines = [f"{line},{part}" for line, part in zip(lines, parts, strict=True)]
    for cell, expected in (("1e30", "deviations from the mean"), ("1.7976931348623157e308", "is beyond 1e+100")):
        broken = [*lines[:-1], f"{cell},1,test"]
        message = problem(write(tmp_path, broken), split_column="part")
        assert f"row 60 (line 61), column 'a': '{cell}' is" in message
        assert expected in message
        assert "data.missing" in message
        assert load(write(tmp_path, broken), split_column="part", nan="fill", missing=[cell]).schema["columns"]
        target = [*lines[:-1], f"1,{cell},test"]
        message = problem(write(tmp_path, target), split_column="part", target_kind="number")
        assert f"row 60 (line 61), column 'y': '{cell}' is" in message
