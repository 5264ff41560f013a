"""Predictions of runs with decisions: their scores, computed outside, are the reported test scores."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from tests.helpers.in_process import run
from trainer.cli import main
from trainer.runs.results import Result

pytestmark = pytest.mark.usefixtures("in_tmp")

DECISIONS = ("task.threshold=f1", "task.calibration=temperature", "task.coverage=0.8", "task.class_weights=balanced")
SCORES = "[accuracy,nll,ece,average_precision,balanced_accuracy,mcc,f1_per_class,precision_per_class,recall_per_class]"


def predict(result: Result, *arguments: str) -> list[dict[str, str]]:
    """Return the cells that ``train predict`` writes for the test rows."""
    assert main.run_command(["predict", result.run_dir, "output=predicted.csv", *arguments]) == 0
    with open("predicted.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def compute_calibration_error(confidence: np.ndarray, is_correct: np.ndarray) -> float:
    bins = np.ceil(confidence * 15)
    return sum(
        np.mean(bins == each) * abs(is_correct[bins == each].mean() - confidence[bins == each].mean())
        for each in np.unique(bins)
    )


def score_classes(rows: list[dict[str, str]], threshold: float) -> dict[str, float]:
    """Return the scores of predicted rows of two classes, by scikit-learn."""
    truth, label = ([row[name] for row in rows] for name in ("target", "label"))
    first, second = (np.array([float(row[f"p_{c}"]) for row in rows]) for c in (0, 1))
    positive = np.array(truth) == "1"
    assert ["1" if p >= threshold else "0" for p in second] == label
    f1, precision, recall = (
        function(truth, label, average=None)
        for function in (metrics.f1_score, metrics.precision_score, metrics.recall_score)
    )
    members = [row["set"].split("|") if row["set"] else [] for row in rows]
    return {
        "accuracy": metrics.accuracy_score(truth, label),
        "nll": metrics.log_loss(positive, second),
        "ece": compute_calibration_error(np.maximum(first, second), (second > first) == positive),
        "average_precision": metrics.average_precision_score(positive, second),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, label),
        "mcc": metrics.matthews_corrcoef(truth, label),
        **{f"f1_{c}": f1[c] for c in (0, 1)},
        **{f"precision_{c}": precision[c] for c in (0, 1)},
        **{f"recall_{c}": recall[c] for c in (0, 1)},
        "coverage": np.mean([row["target"] in each for row, each in zip(rows, members, strict=True)]),
        "set_size": np.mean([len(each) for each in members]),
    }


@pytest.mark.slow
def test_scores_of_predicted_classes_are_the_reported_ones() -> None:
    result = run(*DECISIONS, f"task.scores={SCORES}")
    rows = predict(result)
    assert score_classes(rows, result.decisions["threshold"]) == pytest.approx(result.test, rel=1e-6)
    for size in (1, 7):
        for row, expected in zip(predict(result, f"batch_size={size}"), rows, strict=True):
            assert (row["label"], row["set"]) == (expected["label"], expected["set"])
            assert float(row["p_1"]) == pytest.approx(float(expected["p_1"]), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("data", ["diabetes", "sine_trend"])
def test_scores_of_predicted_intervals_are_the_reported_ones(data: str) -> None:
    names = {"diabetes": "mlp", "sine_trend": "dlinear"}
    config = [f"model={names[data]}", f"data={data}", "max_steps=3", "task.coverage=0.8", "threads=1", "draw=false"]
    assert main.run_command([*config, "hydra.run.dir=run"]) == 0
    result = Result.read(Path("run"))

    def parse(cell: str) -> Any:
        return np.array(json.loads(cell))

    rows = predict(result)
    lower, value, upper, target = (
        np.stack([parse(row[name]) for row in rows]) for name in ("lower", "value", "upper", "target")
    )
    assert np.mean((lower <= target) & (target <= upper)) == pytest.approx(result.test["coverage"])
    assert np.mean(upper - lower) == pytest.approx(result.test["interval_width"])
    np.testing.assert_allclose((lower + upper) / 2, value, rtol=1e-6, atol=1e-6)
    assert math.isclose(np.mean(np.abs(value - target)), result.test["mae"], rel_tol=1e-6)
