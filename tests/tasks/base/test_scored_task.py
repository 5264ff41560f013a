"""Scored tasks: user metrics get all rows of a split for any batch size."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.lab import lab
from tests.helpers.marks import mark_slow_after
from tests.helpers.own_runs import USER_FILES
from trainer.core.batch import ScoreAccumulator
from trainer.metrics.computed import as_computed_metric

COMMON = ("epochs=1", "threads=1")


def user_accuracy(predictions: Tensor, targets: Tensor) -> float:
    return float((predictions.argmax(1) == targets).double().mean())


def user_nll(predictions: Tensor, targets: Tensor) -> float:
    return float(F.cross_entropy(predictions.double(), targets))


def user_mae(predictions: Tensor, targets: Tensor) -> float:
    return float((predictions - targets).abs().mean())


def user_token_accuracy(predictions: Tensor, targets: Tensor) -> float:
    mask = targets >= 0
    return float((predictions == targets)[mask].double().mean())


def user_binary_nll(predictions: Tensor, targets: Tensor) -> float:
    return float(F.binary_cross_entropy_with_logits(predictions.double(), targets.double()))


CASES: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "classes": (("model=mlp", "data=wine", "model.hidden=[4]", *COMMON), user_accuracy, "accuracy"),
    "steps": (("model=bilstm_tagger", "data=neighbor_sum", *COMMON), user_accuracy, "accuracy"),
    "one logit": (("model=mlp", "data=moons", "model.hidden=[4]", *COMMON), user_nll, "nll"),
    "values": (("model=mlp", "data=diabetes", "model.hidden=[4]", *COMMON), user_mae, "mae"),
    "forecasts": (("model=dlinear", "data=sine_trend", *COMMON), user_mae, "mae"),
    "pixels": (
        ("model=unet", "data=digit_canvas", "data.rows=30", "model.widths=[4, 8]"),
        user_accuracy,
        "pixel_accuracy",
    ),
    "tokens": (("model=char_lstm", "data=text_file", "model.hidden_size=4", *COMMON), user_nll, "nll"),
    "candidates": (("model=distmult", "data=triples", *COMMON), user_nll, "nll"),
    "pairs": (("model=graph_generator", "data=sbm_pairs", *COMMON), user_binary_nll, "nll"),
    "written": (
        ("model=seq2seq", "data=reverse", "model.hidden_size=4", *COMMON),
        user_token_accuracy,
        "token_accuracy",
    ),
}


@pytest.mark.parametrize("case", mark_slow_after(5, CASES))
@pytest.mark.parametrize("size", mark_slow_after(1, [3, 1000]))
def test_user_metric_matches_built_in_metric(case: str, size: int) -> None:
    overrides, function, name = CASES[case]
    files = USER_FILES.get(overrides[1].removeprefix("data="), {})
    run = lab(*overrides, f"batch_size={size}", *(f"data.{key}={value()}" for key, value in files.items()))
    user_metric = as_computed_metric(type("own", (), {"higher_is_better": True, "compute": staticmethod(function)}))
    built_in = run.task.scores
    run.task.scores, run.task.computed_metrics = [user_metric, *built_in], (user_metric,)
    totals = ScoreAccumulator()
    with torch.no_grad():
        for batch in run.loaders["test"].iter_epoch(0):
            totals.update(run.task.eval().score(batch))
    metrics = run.task.metrics(totals.compute_totals())
    assert next(iter(metrics)) == "own"
    assert math.isfinite(metrics[name])
    assert metrics["own"] == pytest.approx(metrics[name], rel=1e-6)
