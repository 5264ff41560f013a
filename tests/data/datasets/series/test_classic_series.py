"""Classic series: sizes, baselines, gaps and forecasts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers.lab import lab
from tests.helpers.real_data import FOLDER, needs
from trainer.data.datasets.series.classic_series import ClassicSeries
from trainer.data.splits import windows
from trainer.data.splits.windows import WindowSplit
from trainer.utils.errors import DataError

pytestmark = needs("classic_series")


def load_series(name: Any, **changes: Any) -> ClassicSeries:
    defaults = {"columns": None, "history": None, "horizon": None, "gaps": "drop", "val": 0.2, "test": 0.2}
    return ClassicSeries(name=name, data_dir=str(FOLDER), **defaults | changes)


def test_airline_values_and_seasonal_baseline() -> None:
    data = load_series("airline")
    assert isinstance(data.test, WindowSplit)
    assert [len(split) for split in (data.train, data.val, data.test)] == [51, 18, 18]
    last = data.test.series[-12:, 0] * data.info.target.scale
    assert (last - last[0]).round().tolist() == [0, -26, 2, 44, 55, 118, 205, 189, 91, 44, -27, 15]
    repeat, seasonal = (windows.seasonal_naive_scores(data.test, period, data.info.target.scale) for period in (1, 12))
    assert repeat["mae"] == pytest.approx(81.8, abs=0.1)
    assert data.info.baseline == seasonal, "the better of the two rules"
    assert seasonal["mae"] == pytest.approx(46.8, abs=0.1)


def test_sunspots_baseline_repeats_last_value_not_cycle() -> None:
    data = load_series("sunspots")
    assert isinstance(data.test, WindowSplit)
    assert len(data.test.series) == 564 + 264
    assert data.info.baseline == windows.seasonal_naive_scores(data.test, 1, data.info.target.scale)
    assert data.info.baseline["mse"] < windows.seasonal_naive_scores(data.test, 132, data.info.target.scale)["mse"]


@pytest.mark.slow
def test_pollution_gaps_are_dropped_or_interpolated() -> None:
    drop, interpolate = (load_series("pollution", gaps=gaps) for gaps in ("drop", "interpolate"))
    assert [len(split) for split in (interpolate.train, interpolate.val, interpolate.test)] == [21772, 7909, 7957]
    assert [len(split) for split in (drop.train, drop.val, drop.test)] == [16903, 6148, 6304]
    for data in (drop, interpolate):
        for split in (data.train, data.val, data.test):
            batch = split.batch(torch.arange(0, len(split), 7), 0)
            assert batch.target is not None
            assert batch.inputs["x"].isfinite().all()
            assert batch.target.isfinite().all()


@pytest.mark.slow
def test_pollution_accepts_numeric_and_rejects_text_columns() -> None:
    assert load_series("pollution", columns=["pm2.5", "TEMP", "PRES"]).info.sizes["in_features"] == 3
    with pytest.raises(DataError, match=r"column 'cbwd' holds texts such as 'NW'\ndata.columns=.TEMP. excludes it"):
        load_series("pollution", columns=["TEMP", "cbwd"])
    with pytest.raises(DataError, match=r"columns: no column 'pm25'.*did you mean pm2\.5"):
        load_series("pollution", columns=["pm25"])


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dlinear", "gru_forecaster"])
def test_airline_forecast_beats_baseline(model: str) -> None:
    run = lab(f"model={model}", "data=classic_series", f"data_dir={FOLDER}", "max_steps=400")
    assert run.test()["mse"] < run.data.info.baseline["mse"]


def test_untrained_model_does_not_beat_baseline() -> None:
    run = lab("model=dlinear", "data=classic_series", f"data_dir={FOLDER}", "max_steps=1", "optimizer.lr=1e-9")
    assert run.test()["mse"] > run.data.info.baseline["mse"]
