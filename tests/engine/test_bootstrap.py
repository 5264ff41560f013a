"""Bootstrap intervals of metrics: compared with NumPy, with closed forms, and over both kinds of resampling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.helpers.tiny import CPU, LeastSquares, Linear, defaults
from trainer.core.split import FullBatchSplit, TensorSplit
from trainer.core.task import Task
from trainer.engine import bootstrap, evaluation
from trainer.engine.bootstrap import Evaluation, Evaluator
from trainer.engine.dataloader import Loader
from trainer.tasks.classification import Classification
from trainer.tasks.regression import Regression


class Identity(nn.Module):
    """A model whose output is its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def make_loader(split: Any, batch_size: int | None, default: int = 64) -> Loader:
    return Loader(split, "input", batch_size=batch_size or default, device=CPU)


def evaluate(task: Task, *splits: Any, resamples: int = 1000, batch_size: int = 64) -> Evaluation:
    evaluator = Evaluator(task, defaults(), resamples)
    for split in splits:
        evaluator.add(partial(make_loader, split, default=batch_size))
    return evaluator.compute()


def make_rows(count: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (count,), generator=generator)
    logits = torch.randn(count, classes, generator=generator) + nn.functional.one_hot(target, classes)
    return logits, target


def classify(classes: int, *scores: str) -> Classification:
    return Classification(Identity(), classes, scores=scores or ("accuracy", "nll", "f1"))  # type: ignore[arg-type]


def test_interval_is_that_of_numpy() -> None:
    logits, target = make_rows(500, 3)
    found = evaluate(classify(3), TensorSplit({"x": logits}, target), resamples=400)
    correct = (logits.argmax(1) == target).double().numpy()
    nll = nn.functional.cross_entropy(logits.double(), target, reduction="none").numpy()
    draw = np.random.default_rng(0)
    index = draw.integers(500, size=(2000, 500))
    for name, rows in (("accuracy", correct), ("nll", nll)):
        assert found.scores[name] == pytest.approx(rows.mean(), rel=1e-6)
        expected = np.percentile(rows[index].mean(1), [2.5, 97.5])
        np.testing.assert_allclose(found.intervals[name], expected, atol=0.01)


def test_scores_are_those_of_an_evaluation_of_the_whole_split() -> None:
    logits, target = make_rows(500, 3)
    task, split = classify(3, "f1", "accuracy", "nll", "auc"), TensorSplit({"x": logits}, target)
    expected = evaluation.evaluate_split(task, make_loader(split, None), defaults())
    parts = (TensorSplit({"x": logits[rows]}, target[rows]) for rows in (slice(0, 256), slice(256, 500)))
    found = evaluate(task, *parts, resamples=40)
    assert found.scores == expected
    assert (found.num_rows, found.class_counts) == (500, target.bincount().tolist())
    assert found.intervals.keys() == expected.keys()
    assert all(low < found.scores[name] < high for name, (low, high) in found.intervals.items())


@pytest.mark.parametrize("names", [("accuracy", "f1", "nll", "f1_per_class"), ("auc",)])
def test_resampled_outputs_and_resampled_rows_agree(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = make_rows(120, 2)
    split, task = TensorSplit({"x": logits}, target), classify(2, *names)
    fast = evaluate(task, split, resamples=50)
    monkeypatch.setattr(Classification, "scores_outputs", False)
    slow = evaluate(task, split, resamples=50)
    assert fast.scores == pytest.approx(slow.scores)
    for name, bounds in fast.intervals.items():
        assert bounds == pytest.approx(slow.intervals[name])


def test_regression_interval_has_the_width_of_the_standard_error() -> None:
    draw = torch.Generator().manual_seed(0)
    target = torch.randn(1000, 1, generator=draw)
    error = torch.randn(1000, 1, generator=draw)
    found = evaluate(Regression(Identity()), TensorSplit({"x": target + error}, target), resamples=400)
    low, high = found.intervals["mae"]
    width = 2 * 1.96 * float(error.abs().std()) / 1000**0.5
    assert high - low == pytest.approx(width, rel=0.2)
    assert found.class_counts == []


@pytest.mark.slow
def test_intervals_contain_the_true_value_with_the_stated_probability() -> None:
    logits, target = make_rows(100_000, 2, seed=1)
    truth = float((logits.argmax(1) == target).double().mean())
    draw = torch.Generator().manual_seed(2)
    hits = 0
    for _ in range(100):
        rows = torch.randint(len(target), (300,), generator=draw)
        found = evaluate(classify(2), TensorSplit({"x": logits[rows]}, target[rows]), resamples=100)
        low, high = found.intervals["accuracy"]
        hits += low <= truth <= high
    assert 88 <= hits <= 99  # of 100: 95 +- 2 standard deviations, and a bit for few resamples


def test_class_without_rows_has_no_interval() -> None:
    logits, target = make_rows(50, 3)
    logits = torch.cat((logits, torch.full((50, 1), -9.0)), dim=1)
    found = evaluate(classify(4, "f1_per_class"), TensorSplit({"x": logits}, target), resamples=20)
    assert np.isnan(found.scores["f1_3"])
    assert found.intervals.keys() == {"f1_0", "f1_1", "f1_2"}
    assert (found.count_class(2), found.count_class(3)) == (int((target == 2).sum()), 0)


def test_any_task_has_intervals() -> None:
    x = torch.randn(60, 3)
    found = evaluate(LeastSquares(Linear()), TensorSplit({"x": x}, x.sum(1)), resamples=30)
    low, high = found.intervals["mse"]
    assert low < found.scores["mse"] < high


def test_maps_are_resampled_by_image() -> None:
    draw = torch.Generator().manual_seed(0)
    target = torch.randint(2, (20, 5, 5), generator=draw)
    logits = torch.randn(20, 2, 5, 5, generator=draw)
    found = evaluate(classify(2, "mean_iou", "pixel_accuracy"), TensorSplit({"x": logits}, target), resamples=20)
    assert found.num_rows == 20
    assert found.intervals["pixel_accuracy"][0] < found.scores["pixel_accuracy"]


@pytest.mark.slow
def test_part_of_the_pixels_gives_the_intervals_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    target = torch.randint(2, (16, 30, 30), generator=draw)
    noise = torch.linspace(0.5, 2, 16).view(16, 1, 1) * torch.randn(16, 30, 30, generator=draw)
    logits = torch.stack((torch.zeros(16, 30, 30), target + noise), dim=1)
    split, task = TensorSplit({"x": logits}, target), classify(2, "auc", "average_precision", "pixel_accuracy")
    exact = evaluate(task, split, resamples=100)
    monkeypatch.setattr(bootstrap, "MAX_ROW_VALUES", 6000)
    part = evaluate(task, split, resamples=100)
    assert part.scores == exact.scores
    assert part.intervals["pixel_accuracy"] == pytest.approx(exact.intervals["pixel_accuracy"], abs=1e-12)
    for name in ("auc", "average_precision"):
        assert part.intervals[name] != exact.intervals[name]
        assert part.intervals[name] == pytest.approx(exact.intervals[name], abs=0.01)


def test_part_of_the_values_of_a_row_has_the_same_positions() -> None:
    margin = torch.arange(5000.0)
    row = {"margin": margin, "positive": margin > 2500}
    part = bootstrap._draw_part(row, 0.1, torch.Generator().manual_seed(0))
    assert len(part["margin"]) == 500
    assert torch.equal(part["positive"], part["margin"] > 2500)


def test_nodes_of_a_graph_are_resampled() -> None:
    logits, target = make_rows(40, 3)
    index = torch.arange(5, 35)
    split = FullBatchSplit({"x": logits}, target[index], index)
    found = evaluate(classify(3), split, resamples=50)
    assert found.num_rows == 30
    assert found.scores["accuracy"] == float((logits.argmax(1) == target)[index].double().mean())
    assert found.intervals["accuracy"][0] < found.intervals["accuracy"][1]


@pytest.mark.parametrize("resamples", [0, 5])
def test_single_row_and_no_resamples_have_no_interval(resamples: int) -> None:
    logits, target = make_rows(1 if resamples else 9, 2)
    found = evaluate(classify(2), TensorSplit({"x": logits}, target), resamples=resamples)
    assert found.intervals == {}


def test_evaluations_are_repeatable_and_keep_the_random_state() -> None:
    logits, target = make_rows(50, 2)
    run: Callable[[], Evaluation] = partial(evaluate, classify(2), TensorSplit({"x": logits}, target), resamples=20)
    state = torch.get_rng_state()
    assert run() == run()
    assert torch.equal(torch.get_rng_state(), state)
