"""Windows of series: shared memory, gaps, chronological splits, baselines and best possible scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.lab import lab
from tests.helpers.real_data import FOLDER, needs
from trainer.core.split import TensorSplit
from trainer.data.datasets.series import etth1
from trainer.data.datasets.series.synthetic import SineTrend, forecast_variance, trend_components
from trainer.data.splits import windows
from trainer.data.splits.windows import WindowSplit, chronological_splits
from trainer.engine.dataloader import Loader
from trainer.utils.errors import DataError, SystemFault

requires_etth1 = needs("etth1")

# Row t of channel c holds 10 t + c, so a value identifies its row and channel.
SERIES = torch.arange(100.0)[:, None] * 10 + torch.arange(3.0)


def test_windows_are_views_of_the_series() -> None:
    split = WindowSplit(SERIES, history=7, horizon=4)
    assert len(split) == 100 - 7 - 4 + 1
    index = torch.tensor([0, 31, 89])
    batch = split.batch(index, epoch=0)
    for row, start in enumerate(index.tolist()):
        assert torch.equal(batch.inputs["x"][row], SERIES[start : start + 7])
        assert torch.equal(batch.target[row], SERIES[start + 7 : start + 11])
    owner = SERIES.untyped_storage().data_ptr()
    assert split.inputs["x"].untyped_storage().data_ptr() == split.target.untyped_storage().data_ptr() == owner


def test_windows_of_a_moved_split_share_the_series() -> None:
    meta_split = WindowSplit(SERIES, 7, 4).to(torch.device("meta"))
    assert meta_split.inputs["x"].shape == (90, 7, 3)
    assert meta_split.inputs["x"].untyped_storage().nbytes() == SERIES.nbytes


def test_iter_epoch_matches_single_batches() -> None:
    split = WindowSplit(SERIES, 7, 4)
    loader = Loader(split, "train", batch_size=8, device=torch.device("cpu"), train=True)
    batches = list(loader.iter_epoch(3))
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(90))
    for batch in batches:
        expected = split.batch(batch.index, 3)
        assert torch.equal(batch.inputs["x"], expected.inputs["x"])
        assert torch.equal(batch.target, expected.target)


def test_interpolate_gaps_matches_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 9, 3, generator=generator).where(torch.rand(40, 9, 3, generator=generator) < 0.5, torch.nan)
    filled, steps = windows.interpolate_gaps(x), np.arange(9)
    for row in range(40):
        for column in range(3):
            values = x[row, :, column].numpy()
            known = ~np.isnan(values)
            if known.any():
                expected = np.interp(steps, steps[known], values[known])
                assert np.allclose(filled[row, :, column], expected, atol=1e-6)
            else:
                assert filled[row, :, column].isnan().all()


def get_rows(values: torch.Tensor) -> set[int]:
    """Return the rows of the series that a tensor contains."""
    return {int(value) // 10 for value in values.flatten()}


def test_chronological_splits_have_disjoint_contiguous_targets() -> None:
    train, val, test = chronological_splits(SERIES, (60, 80, 95), history=7, horizon=4)
    assert get_rows(train.inputs["x"]) | get_rows(train.target) == set(range(60))
    assert get_rows(val.target) == set(range(60, 80))
    assert get_rows(test.target) == set(range(80, 95)), "rows after the last end are excluded"
    assert get_rows(val.inputs["x"]) == set(range(53, 76))
    for split in (train, val, test):
        last_read = split.inputs["x"][:, -1, 0]
        assert torch.equal(split.target[:, 0, 0], last_read + 10), "the target begins after the last input"


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ((10, 80, 95), "need 11 rows; the train split has 10"),
        ((60, 63, 95), "need 4 rows; the val split has 3"),
        ((60, 80, 83), "need 4 rows; the test split has 3"),
    ],
)
def test_a_split_too_short_for_one_window_is_refused(ends: tuple[int, int, int], message: str) -> None:
    with pytest.raises(DataError, match=f"history 7 and horizon 4 {message}"):
        chronological_splits(SERIES, ends, history=7, horizon=4)


def test_seasonal_naive_scores_of_line_and_sine() -> None:
    """On a line of slope 1, h steps ahead the last value is h short, and a period of 3 is 3 or 6 short."""
    line = torch.arange(60.0)[:, None]
    split = WindowSplit(line, 6, 4)
    assert windows.seasonal_naive_scores(split, 1)["mse"] == pytest.approx((1 + 4 + 9 + 16) / 4)
    assert windows.seasonal_naive_scores(split, 3)["mse"] == pytest.approx((9 + 9 + 9 + 36) / 4)
    wave = torch.sin(torch.arange(60.0) * 2 * torch.pi / 6)[:, None]
    assert windows.seasonal_naive_scores(WindowSplit(wave, 6, 4), 6)["mse"] == pytest.approx(0, abs=1e-9)


def make_sine(rows: int = 20000, **changes: float) -> SineTrend:
    defaults = {"period": 24.0, "amplitude": 0.736, "slope": 0.02, "level": 1.0, "noise": 0.1}
    return SineTrend(rows=rows, history=48, horizon=12, seed=0, **{**defaults, **changes})


def test_sine_trend_best_possible_matches_least_squares() -> None:
    """Compare a least-squares fit of the components in numpy with the closed form."""
    data = make_sine()
    assert isinstance(data.test, TensorSplit)
    x, y = (t[..., 0].double().numpy() for t in (data.test.inputs["x"], data.test.target))
    components = trend_components(60, 24.0).numpy()
    coefficients, *_ = np.linalg.lstsq(components[:48], x.T, rcond=None)
    oracle = ((components[48:] @ coefficients - y.T) ** 2).mean()
    best = data.info.best_possible["mse"]
    assert best == pytest.approx(0.0122, abs=1e-4)
    assert oracle == pytest.approx(best, rel=0.02)
    without_trend, *_ = np.linalg.lstsq(components[:48, [0, 1, 3]], x.T, rcond=None)
    assert ((components[48:][:, [0, 1, 3]] @ without_trend - y.T) ** 2).mean() > 10 * best
    assert data.info.baseline["mse"] == pytest.approx(1.22, abs=0.03)
    assert windows.seasonal_naive_scores(data.test, 24)["mse"] == pytest.approx(0.2504, abs=0.01)


def test_sine_trend_best_possible_uses_coefficient_prior() -> None:
    """With little or no spread of the coefficients only the noise remains."""
    assert make_sine(100, amplitude=1e-6, slope=1e-6, level=1e-6).info.best_possible["mse"] == pytest.approx(0.01)
    assert make_sine(100, amplitude=0.0, slope=0.0, level=0.0).info.best_possible["mse"] == pytest.approx(0.01)
    variance = forecast_variance(trend_components(60, 24.0), torch.ones(4).double(), 0.1, 48)
    assert variance[-1] > variance[0], "the variance grows with the horizon"


def test_sine_trend_depends_on_seed() -> None:
    assert torch.equal(make_sine(50).train.inputs["x"], make_sine(50).train.inputs["x"])
    other = SineTrend(50, 48, 12, 24.0, 0.736, 0.02, 1.0, 0.1, seed=1)
    assert not torch.equal(make_sine(50).train.inputs["x"], other.train.inputs["x"])


@requires_etth1
def test_etth1_has_standard_splits_scale_and_baselines() -> None:
    data = etth1.ETTh1(history=336, horizon=96, data_dir=str(FOLDER))
    assert [len(split) for split in (data.train, data.val, data.test)] == [8209, 2785, 2785]
    assert isinstance(data.train, WindowSplit)
    assert isinstance(data.test, WindowSplit)
    assert torch.allclose(data.train.series.mean(0), torch.zeros(7), atol=1e-5)
    assert torch.allclose(data.train.series.std(0), torch.ones(7), atol=1e-3)
    assert windows.seasonal_naive_scores(data.test, 1)["mse"] == pytest.approx(1.294, abs=1e-3)
    assert data.info.baseline == windows.seasonal_naive_scores(data.test, 24), "the better of the two baselines"
    assert data.info.baseline["mse"] == pytest.approx(0.512, abs=1e-3)
    short = etth1.ETTh1(history=12, horizon=96, data_dir=str(FOLDER))
    assert short.info.baseline["mse"] == pytest.approx(1.294, abs=1e-3), "a history of half a day has no daily period"


@requires_etth1
@pytest.mark.slow
def test_dlinear_beats_etth1_baselines() -> None:
    overrides = ["data=etth1", f"data_dir={FOLDER}", "data.history=96", "max_steps=200"]
    assert lab("model=dlinear", *overrides).test()["mse"] < 0.45 < 0.512


def test_missing_etth1_file_error_names_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etth1, "SOURCE", replace(etth1.SOURCE, url="https://localhost:1/unreachable"))
    with pytest.raises(SystemFault, match=str(tmp_path / "etth1/ETT-small/ETTh1.csv")):
        etth1.ETTh1(history=336, horizon=96, data_dir=str(tmp_path))
