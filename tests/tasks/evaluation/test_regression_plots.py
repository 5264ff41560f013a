"""Regression and forecast plots, in the units of the data."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.helpers.artifacts import make_artifacts
from tests.helpers.lab import lab
from tests.helpers.own_files import hours
from trainer.core.artifacts import LineChart
from trainer.core.batch import Batch
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import TargetInfo
from trainer.tasks.evaluation.regression_plots import MAX_FORECASTS, MAX_POINTS, MAX_SAVED_FORECASTS, make_plots

PLAIN = TargetInfo()


def test_predictions_are_plotted_in_data_units() -> None:
    target = torch.tensor([[0.0], [1.0], [2.0]])
    batch = Batch({"x": target}, target, torch.arange(3))
    found = make_artifacts(make_plots(lambda b: b.inputs["x"] + 1, [batch], TargetInfo(scale=10.0, mean=5.0)))
    assert [*found] == ["predictions"]
    chart = found["predictions"]
    assert isinstance(chart, LineChart)
    (_, truth, predicted), (_, _, residual) = chart.panels[0].points[0], chart.panels[1].points[0]
    assert (truth.tolist(), predicted.tolist(), residual.tolist()) == ([5, 15, 25], [15, 25, 35], [10, 10, 10])
    assert chart.panels[2].lines[0][2].sum() == 2 * 3, "each row is in one bar, drawn with two corners"


def test_forecast_line_starts_at_last_observed_step() -> None:
    x, target = torch.arange(8.0).view(2, 4, 1), torch.tensor([[[4.0], [5.0]], [[8.0], [9.0]]])
    batch = Batch({"x": x}, target, torch.tensor([7, 8]))
    chart = make_artifacts(make_plots(lambda _: torch.zeros(2, 2, 1), [batch], PLAIN))["forecasts"]
    assert isinstance(chart, LineChart)
    first = chart.panels[0]
    assert (first.title, first.x_label, first.y_label) == ("row 7", "steps ahead (0 = last observed step)", "value")
    assert [label for label, _, _ in first.lines] == ["history", "true", "predicted"]
    assert [y.tolist() for _, _, y in first.lines] == [[0, 1, 2, 3], [3, 4, 5], [3, 0, 0]]
    assert [steps.tolist() for _, steps, _ in first.lines] == [[-3, -2, -1, 0], [0, 1, 2], [0, 1, 2]]


def test_intervals_of_a_forecast_are_a_band_in_data_units() -> None:
    x, target = torch.zeros(1, 3, 1), torch.ones(1, 2, 1)
    batch, info = Batch({"x": x}, target, torch.arange(1)), TargetInfo(scale=10.0, mean=5.0)
    plots = make_plots(lambda _: torch.ones(1, 2, 1), [batch], info, torch.tensor([[0.5], [1.0]]))
    chart = make_artifacts(plots)["forecasts"]
    assert isinstance(chart, LineChart)
    ((_, steps, lower, upper),) = chart.panels[0].bands
    assert (steps.tolist(), lower.tolist(), upper.tolist()) == ([1, 2], [10.0, 5.0], [20.0, 25.0])
    info = TargetInfo(channel_names=["load"], channel_moments=([100.0], [20.0]))
    plots = make_plots(lambda _: torch.ones(1, 2, 1), [batch], info, torch.tensor([[0.5], [1.0]]))
    chart = make_artifacts(plots)["forecasts"]
    assert isinstance(chart, LineChart)
    assert [bound.tolist() for bound in chart.panels[0].bands[0][2:]] == [[110.0, 100.0], [130.0, 140.0]]


def test_quantiles_of_normal_residuals_are_on_the_diagonal() -> None:
    target = torch.zeros(4000, 1)
    batch = Batch({"x": target}, target, torch.arange(4000))
    noise = torch.special.ndtri((torch.randperm(4000).double() + 0.5) / 4000)[:, None]
    for values, is_normal in ((noise, True), (noise.exp(), False)):
        chart = make_artifacts(make_plots(lambda _, values=values: values, [batch], PLAIN))["predictions"]
        assert isinstance(chart, LineChart)
        ((_, normal, residual),) = chart.panels[-1].points
        assert torch.allclose(normal, residual, atol=1e-2 if is_normal else 1.0) == is_normal


def test_nonfinite_predictions_are_skipped() -> None:
    target = torch.ones(2, 1)
    batch = Batch({"x": target}, target, torch.arange(2))
    assert make_artifacts(make_plots(lambda _: target * torch.inf, [batch], PLAIN)) == {}


def test_validation_loss_is_on_training_scale() -> None:
    run = lab("model=mlp", "data=diabetes", "epochs=1")
    run.trainer.fit()
    row = run.trainer.history[0]
    scale = run.data.info.target.scale
    assert row["val_loss"] * scale**2 == row["val_mse"]
    assert run.data.info.target.mean is not None


def make_forecast_chart(rows: int, target_info: TargetInfo, size: int = 7) -> LineChart:
    """Plot series (rows, 2, 3) whose values are the column index, with predictions 1 higher."""
    target = torch.arange(3.0).expand(rows, 2, 3)
    parts = torch.arange(rows).split(size)
    batches = [Batch({"x": torch.zeros(len(part), 4, 3)}, target[part], part) for part in parts]

    def predict(batch: Batch) -> torch.Tensor:
        assert batch.target is not None
        return batch.target + 1

    chart = make_artifacts(make_plots(predict, batches, target_info))["forecasts"]
    assert isinstance(chart, LineChart)
    return chart


@pytest.mark.parametrize("rows", [1, 5, MAX_FORECASTS, MAX_SAVED_FORECASTS, MAX_SAVED_FORECASTS + 1, 997])
def test_forecast_plots_are_spread_over_the_split(rows: int) -> None:
    plotted_rows = [int(panel.title.removeprefix("row ")) for panel in make_forecast_chart(rows, PLAIN).panels]
    assert len(plotted_rows) == min(rows, MAX_FORECASTS)
    steps = [after - before for before, after in itertools.pairwise(plotted_rows)]
    assert plotted_rows[0] == 0
    assert plotted_rows[-1] >= 0.9 * (rows - 1)
    assert all(step >= 0.8 * (rows - 1) / MAX_FORECASTS for step in steps)


def test_panel_label_names_its_column() -> None:
    unnamed = make_forecast_chart(20, TargetInfo(unit="standardized")).panels
    assert [panel.y_label for panel in unnamed[:4]] == [f"column {n} (standardized)" for n in (1, 2, 3, 1)]
    assert [panel.lines[1][2].tolist()[1] for panel in unnamed[:3]] == [0, 1, 2]
    named = TargetInfo(unit="standardized", channel_names=("a", "b", "c"))
    assert [panel.y_label for panel in make_forecast_chart(20, named).panels[:2]] == [
        "a (standardized)",
        "b (standardized)",
    ]


def test_panel_uses_unit_of_its_column() -> None:
    target_info = TargetInfo(
        unit="standardized", channel_names=("a", "b", "c"), channel_moments=([1, 2, 3], [10, 100, 1000])
    )
    second = make_forecast_chart(20, target_info).panels[1]
    assert second.y_label == "b"
    assert [y.tolist()[-1] for _, _, y in second.lines] == [2, 102, 202]


def test_histogram_label_names_counted_values() -> None:
    def histogram_labels(target: torch.Tensor) -> tuple[str, str]:
        batch = Batch({"x": target}, target, torch.arange(len(target)))
        chart = make_artifacts(make_plots(lambda b: b.inputs["x"], [batch], PLAIN))["predictions"]
        assert isinstance(chart, LineChart)
        return chart.panels[2].title, chart.panels[2].y_label

    assert histogram_labels(torch.ones(6, 1)) == ("Residual histogram", "rows")
    assert histogram_labels(torch.ones(6)) == ("Residual histogram", "rows")
    assert histogram_labels(torch.ones(6, 2)) == ("Residual histogram", "values (rows x columns)")
    assert histogram_labels(torch.ones(6, 2, 1)) == ("Residual histogram", "values (rows x steps x columns)")
    assert histogram_labels(torch.ones(2 * MAX_POINTS, 1)) == ("Residual histogram, 4,000 of 8,000", "rows")


def load_series(columns: str) -> Dataset:
    path, overrides = hours(), ("data.history=8", "data.horizon=3", "max_steps=1", "data.time=time")
    return lab("model=dlinear", "data=csv_series", f"data.path={path}", f"data.columns={columns}", *overrides).data


def test_csv_series_names_its_columns() -> None:
    target_info = load_series("[b,a]").info.target
    assert (target_info.channel_names, target_info.unit) == (["b", "a"], "standardized")
    assert target_info.channel_moments is not None
    assert 30 < target_info.channel_moments[0][0] < 60
    single = load_series("[b]").info.target
    assert (single.channel_names, single.unit, single.channel_moments) == (["b"], "", None)
    assert single.mean is not None


def test_standardized_predictions_are_labeled() -> None:
    target = torch.rand(5, 2, 3)
    batch = Batch({"x": target}, target, torch.arange(5))
    chart = make_artifacts(make_plots(lambda b: b.inputs["x"], [batch], TargetInfo(unit="standardized")))["predictions"]
    assert isinstance(chart, LineChart)
    assert (chart.panels[0].x_label, chart.panels[0].y_label) == ("True (standardized)", "Predicted (standardized)")
    assert chart.panels[2].x_label == "Predicted - True (standardized)"
