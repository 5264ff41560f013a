"""What is shown of predicted values is what was predicted, in the data's own units."""

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


def test_predictions_stand_against_the_truth_in_own_units() -> None:
    target = torch.tensor([[0.0], [1.0], [2.0]])
    batch = Batch({"x": target}, target, torch.arange(3))
    found = make_artifacts(make_plots(lambda b: b.inputs["x"] + 1, [batch], TargetInfo(scale=10.0, mean=5.0)))
    assert [*found] == ["predictions"]
    chart = found["predictions"]
    assert isinstance(chart, LineChart)
    (_, truth, predicted), (_, _, residual) = chart.panels[0].points[0], chart.panels[1].points[0]
    assert (truth.tolist(), predicted.tolist(), residual.tolist()) == ([5, 15, 25], [15, 25, 35], [10, 10, 10])
    assert chart.panels[2].lines[0][2].sum() == 2 * 3, "each row is in one bar, drawn by two corners"


def test_a_forecast_begins_where_its_history_ends() -> None:
    x, target = torch.arange(8.0).view(2, 4, 1), torch.tensor([[[4.0], [5.0]], [[8.0], [9.0]]])
    batch = Batch({"x": x}, target, torch.tensor([7, 8]))
    chart = make_artifacts(make_plots(lambda _: torch.zeros(2, 2, 1), [batch], PLAIN))["forecasts"]
    assert isinstance(chart, LineChart)
    first = chart.panels[0]
    assert (first.title, first.x_label, first.y_label) == ("row 7", "steps ahead (0 = last observed step)", "value")
    assert [label for label, _, _ in first.lines] == ["history", "true", "predicted"]
    assert [y.tolist() for _, _, y in first.lines] == [[0, 1, 2, 3], [3, 4, 5], [3, 0, 0]]
    assert [at.tolist() for _, at, _ in first.lines] == [[-3, -2, -1, 0], [0, 1, 2], [0, 1, 2]]


def test_predictions_that_are_no_numbers_are_left_out() -> None:
    target = torch.ones(2, 1)
    batch = Batch({"x": target}, target, torch.arange(2))
    assert make_artifacts(make_plots(lambda _: target * torch.inf, [batch], PLAIN)) == {}


def test_a_regression_knows_its_validation_loss_on_the_scale_it_trains_on() -> None:
    run = lab("model=mlp", "data=diabetes", "epochs=1")
    run.trainer.fit()
    row = run.trainer.history[0]
    scale = run.data.info.target.scale
    assert row["val_loss"] * scale**2 == row["val_mse"]
    assert run.data.info.target.mean is not None


def forecasts(rows: int, facts: TargetInfo, size: int = 7) -> LineChart:
    """Of series of three columns, (rows, 2, 3): every number is its column's, and every prediction 1 more."""
    target = torch.arange(3.0).expand(rows, 2, 3)
    parts = torch.arange(rows).split(size)
    batches = [Batch({"x": torch.zeros(len(part), 4, 3)}, target[part], part) for part in parts]

    def predict(batch: Batch) -> torch.Tensor:
        assert batch.target is not None
        return batch.target + 1

    chart = make_artifacts(make_plots(predict, batches, facts))["forecasts"]
    assert isinstance(chart, LineChart)
    return chart


@pytest.mark.parametrize("rows", [1, 5, MAX_FORECASTS, MAX_SAVED_FORECASTS, MAX_SAVED_FORECASTS + 1, 997])
def test_forecast_plots_are_spread_over_the_split(rows: int) -> None:
    shown = [int(panel.title.removeprefix("row ")) for panel in forecasts(rows, PLAIN).panels]
    assert len(shown) == min(rows, MAX_FORECASTS)
    steps = [after - before for before, after in itertools.pairwise(shown)]
    assert shown[0] == 0
    assert shown[-1] >= 0.9 * (rows - 1)
    assert all(step >= 0.8 * (rows - 1) / MAX_FORECASTS for step in steps)


def test_a_panel_names_the_column_it_shows() -> None:
    unnamed = forecasts(20, TargetInfo(unit="standardized")).panels
    assert [panel.y_label for panel in unnamed[:4]] == [f"column {n} (standardized)" for n in (1, 2, 3, 1)]
    assert [panel.lines[1][2].tolist()[1] for panel in unnamed[:3]] == [0, 1, 2]
    named = TargetInfo(unit="standardized", channel_names=("a", "b", "c"))
    assert [panel.y_label for panel in forecasts(20, named).panels[:2]] == ["a (standardized)", "b (standardized)"]


def test_a_column_is_reported_in_its_own_unit() -> None:
    facts = TargetInfo(unit="standardized", channel_names=("a", "b", "c"), channel_moments=([1, 2, 3], [10, 100, 1000]))
    second = forecasts(20, facts).panels[1]
    assert second.y_label == "b"
    assert [y.tolist()[-1] for _, _, y in second.lines] == [2, 102, 202]


def test_bars_are_labeled_with_what_they_count() -> None:
    def counted(target: torch.Tensor) -> tuple[str, str]:
        batch = Batch({"x": target}, target, torch.arange(len(target)))
        chart = make_artifacts(make_plots(lambda b: b.inputs["x"], [batch], PLAIN))["predictions"]
        assert isinstance(chart, LineChart)
        return chart.panels[2].title, chart.panels[2].y_label

    assert counted(torch.ones(6, 1)) == ("Residual histogram", "rows")
    assert counted(torch.ones(6)) == ("Residual histogram", "rows")
    assert counted(torch.ones(6, 2)) == ("Residual histogram", "values (rows x columns)")
    assert counted(torch.ones(6, 2, 1)) == ("Residual histogram", "values (rows x steps x columns)")
    assert counted(torch.ones(2 * MAX_POINTS, 1)) == ("Residual histogram, 4,000 of 8,000", "rows")


def series(columns: str) -> Dataset:
    path, words = hours(), ("data.history=8", "data.horizon=3", "max_steps=1", "data.time=time")
    return lab("model=dlinear", "data=csv_series", f"data.path={path}", f"data.columns={columns}", *words).data


def test_a_user_series_names_its_columns() -> None:
    facts = series("[b,a]").info.target
    assert (facts.channel_names, facts.unit) == (["b", "a"], "standardized")
    assert facts.channel_moments is not None
    assert 30 < facts.channel_moments[0][0] < 60
    alone = series("[b]").info.target
    assert (alone.channel_names, alone.unit, alone.channel_moments) == (["b"], "", None)
    assert alone.mean is not None


def test_predictions_of_standardized_columns_say_so() -> None:
    target = torch.rand(5, 2, 3)
    batch = Batch({"x": target}, target, torch.arange(5))
    chart = make_artifacts(make_plots(lambda b: b.inputs["x"], [batch], TargetInfo(unit="standardized")))["predictions"]
    assert isinstance(chart, LineChart)
    assert (chart.panels[0].x_label, chart.panels[0].y_label) == ("True (standardized)", "Predicted (standardized)")
    assert chart.panels[2].x_label == "Predicted - True (standardized)"
