"""Decisions of every kind of target: examples, positions, nodes, pixels, values and forecasts."""

from __future__ import annotations

import math

import pytest
import torch

from tests.helpers.lab import Lab, lab
from tests.helpers.marks import mark_slow_after
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.engine import evaluation
from trainer.tasks.evaluation import class_decisions

CLASSES = {
    "rows": ("model=mlp", "data=wine"),
    "tokens": ("model=bilstm_tagger", "data=neighbor_sum", "data.rows=60"),
    "nodes": ("model=gcn", "data=sbm", "epochs=1"),
    "pixels": ("model=unet", "data=digit_canvas", "data.rows=30", "model.widths=[4,8]"),
}


def fit(*overrides: str) -> tuple[Lab, dict[str, float], dict[str, float]]:
    """Return a trained run with fitted decisions, their report, and the scores of the validation rows with them."""
    run = lab(*overrides, "max_steps=2")
    run.trainer.fit()
    report = evaluation.fit_decisions(run.task, run.loaders["val"], run.settings)
    return run, report, run.trainer.evaluate_loader(run.loaders["val"])


@pytest.mark.parametrize("kind", mark_slow_after(2, CLASSES))
def test_sets_cover_the_rows_on_which_they_are_fitted(kind: str) -> None:
    options = ("task.class_weights=balanced", "task.calibration=temperature", "task.coverage=0.9")
    run, report, scores = fit(*CLASSES[kind], *options)
    assert report["nll_after"] <= report["nll_before"]
    assert (run.task.class_weights.std() > 0) == (kind != "nodes"), "the nodes are balanced"
    count = sum(int((batch.target != IGNORE_INDEX).sum()) for batch in run.loaders["val"].iter_epoch(0))
    if kind == "pixels":  # fitted on some of the pixels
        assert scores["coverage"] == pytest.approx(0.9, abs=0.01)
    else:
        assert scores["coverage"] == pytest.approx(math.ceil((count + 1) * 0.9) / count, abs=2 / count)
        assert scores["nll"] == pytest.approx(report["nll_after"], rel=1e-5)
    assert 0 < scores["set_size"] <= run.task.num_classes


@pytest.mark.parametrize("data", mark_slow_after(1, ["sine_trend", "diabetes"]))
def test_intervals_cover_each_output_of_the_rows_on_which_they_are_fitted(data: str) -> None:
    model = {"diabetes": "mlp", "sine_trend": "dlinear"}[data]
    rows = ("data.rows=200",) if data == "sine_trend" else ()
    run, report, scores = fit(f"model={model}", f"data={data}", *rows, "task.coverage=0.8")
    batch = next(iter(run.loaders["val"].iter_epoch(0)))
    with torch.no_grad():
        prediction, target = run.task.predict(batch), batch.require_target()
    assert prediction["lower"].shape == prediction["upper"].shape == target.shape
    covered = (prediction["lower"] <= target) & (target <= prediction["upper"])
    assert len(batch) == len(run.data.val)
    expected = math.ceil((len(batch) + 1) * 0.8) / len(batch)
    torch.testing.assert_close(covered.double().mean(0), torch.full(target.shape[1:], expected).double())
    assert scores["coverage"] == expected
    width = float((prediction["upper"] - prediction["lower"]).mean()) * run.task.target_scale
    assert scores["interval_width"] == pytest.approx(width) == 2 * report["residual_quantile"]


def test_each_step_of_a_forecast_has_its_own_interval() -> None:
    run, _, _ = fit("model=dlinear", "data=sine_trend", "data.rows=400", "task.coverage=0.8")
    quantile = run.task.decisions["residual_quantile"]
    assert quantile.shape == run.task.example_decisions()["residual_quantile"].shape == (12, 1)
    assert len(quantile.unique()) == 12


def test_decisions_are_neutral_until_they_are_fitted() -> None:
    options = ("task.threshold=0.1", "task.calibration=temperature", "task.coverage=0.9")
    run = lab("model=mlp", "data=moons", "data.rows=100", *options)
    batch = next(iter(run.loaders["val"].iter_epoch(0)))
    prediction = run.task.predict(batch)
    assert prediction.keys() == {"label", "probabilities"}
    assert torch.equal(prediction["label"], prediction["probabilities"].argmax(1))
    assert not {"coverage", "set_size"} & run.trainer.evaluate_loader(run.loaders["val"]).keys()
    evaluation.fit_decisions(run.task, run.loaders["val"], run.settings)
    prediction = run.task.predict(batch)
    assert torch.equal(prediction["label"], (prediction["probabilities"][:, 1] >= 0.1).long())
    assert (prediction["label"] == 1).any()


def test_positions_are_selected_evenly_and_without_ignored_ones() -> None:
    target = torch.arange(4 * 3000).reshape(4, 60, 50) % 5
    target[0] = IGNORE_INDEX
    logits = torch.nn.functional.one_hot(target.clamp(min=0), 5).movedim(-1, 1).float()
    selected, classes = class_decisions.select_positions(logits, target)
    assert selected.shape == (3 * class_decisions.MAX_POSITIONS, 5)
    assert torch.equal(selected.argmax(1), classes)
    assert classes.bincount().float().std() < 10
    rows, classes = class_decisions.select_positions(logits[:, :, 0, 0], target[:, 0, 0])
    assert rows.shape == (3, 5)


def test_first_and_last_row_of_a_batch_are_decided_alike() -> None:
    """By the probability, in the batch and alone."""
    run, _, _ = fit("model=mlp", "data=moons", "data.rows=200", "task.threshold=balanced_accuracy")
    batch = next(iter(run.loaders["val"].iter_epoch(0)))
    labels = run.task.predict(batch)["label"]
    for row in (0, len(batch) - 1):
        single = Batch({"x": batch.inputs["x"][row : row + 1]}, None, batch.index[row : row + 1])
        assert run.task.predict(single)["label"] == labels[row]
