"""What is shown of predicted values is what was predicted, in the data's own units."""

from __future__ import annotations

import torch
from conftest import lab
from items import made

from trainer.batch import Batch
from trainer.gallery import Chart
from trainer.tasks.parts.value_plots import of_values


def test_predictions_stand_against_the_truth_in_own_units() -> None:
    target = torch.tensor([[0.0], [1.0], [2.0]])
    batch = Batch({"x": target}, target, torch.arange(3))
    found = made(of_values(lambda b: b.inputs["x"] + 1, [batch], 10.0, 5.0))
    assert [*found] == ["predictions"]
    chart = found["predictions"]
    assert isinstance(chart, Chart)
    (_, truth, predicted), (_, _, residual) = chart.panels[0].points[0], chart.panels[1].points[0]
    assert (truth.tolist(), predicted.tolist(), residual.tolist()) == ([5, 15, 25], [15, 25, 35], [10, 10, 10])
    assert chart.panels[2].lines[0][2].sum() == 2 * 3, "each row is in one bar, drawn by two corners"


def test_a_forecast_begins_where_its_history_ends() -> None:
    x, target = torch.arange(8.0).view(2, 4, 1), torch.tensor([[[4.0], [5.0]], [[8.0], [9.0]]])
    batch = Batch({"x": x}, target, torch.tensor([7, 8]))
    chart = made(of_values(lambda _: torch.zeros(2, 2, 1), [batch], 1.0, None))["forecasts"]
    assert isinstance(chart, Chart)
    first = chart.panels[0]
    assert first.title == "row 7"
    assert [label for label, _, _ in first.lines] == ["history", "true", "predicted"]
    assert [y.tolist() for _, _, y in first.lines] == [[0, 1, 2, 3], [3, 4, 5], [3, 0, 0]]
    assert [at.tolist() for _, at, _ in first.lines] == [[-3, -2, -1, 0], [0, 1, 2], [0, 1, 2]]


def test_predictions_that_are_no_numbers_are_left_out() -> None:
    target = torch.ones(2, 1)
    batch = Batch({"x": target}, target, torch.arange(2))
    assert made(of_values(lambda _: target * torch.inf, [batch], 1.0, None)) == {}


def test_a_regression_knows_its_validation_loss_on_the_scale_it_trains_on() -> None:
    run = lab("model=mlp", "data=diabetes", "epochs=1")
    run.trainer.fit()
    row = run.trainer.history[0]
    scale = run.data.facts.target_scale
    assert row["val_loss"] * scale**2 == row["val_mse"]
    assert run.data.facts.target_mean is not None
