"""Tasks whose metrics are chosen: each hands a user's metric all rows of a split, whatever the batches."""

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


def hit_share(predictions: Tensor, targets: Tensor) -> float:
    return float((predictions.argmax(1) == targets).double().mean())


def nll_again(predictions: Tensor, targets: Tensor) -> float:
    return float(F.cross_entropy(predictions.double(), targets))


def mae_again(predictions: Tensor, targets: Tensor) -> float:
    return float((predictions - targets).abs().mean())


def written_again(predictions: Tensor, targets: Tensor) -> float:
    counted = targets >= 0
    return float((predictions == targets)[counted].double().mean())


def odds_again(predictions: Tensor, targets: Tensor) -> float:
    return float(F.binary_cross_entropy_with_logits(predictions.double(), targets.double()))


CASES: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "classes": (("model=mlp", "data=wine", "model.hidden=[4]", *COMMON), hit_share, "accuracy"),
    "steps": (("model=bilstm_tagger", "data=neighbor_sum", *COMMON), hit_share, "accuracy"),
    "one logit": (("model=mlp", "data=moons", "model.hidden=[4]", *COMMON), nll_again, "nll"),
    "values": (("model=mlp", "data=diabetes", "model.hidden=[4]", *COMMON), mae_again, "mae"),
    "forecasts": (("model=dlinear", "data=sine_trend", *COMMON), mae_again, "mae"),
    "pixels": (("model=unet", "data=digit_canvas", "data.rows=30", "model.widths=[4, 8]"), hit_share, "pixel_accuracy"),
    "tokens": (("model=char_lstm", "data=text_file", "model.hidden_size=4", *COMMON), nll_again, "nll"),
    "candidates": (("model=distmult", "data=triples", *COMMON), nll_again, "nll"),
    "pairs": (("model=graph_generator", "data=sbm_pairs", *COMMON), odds_again, "nll"),
    "written": (("model=seq2seq", "data=reverse", "model.hidden_size=4", *COMMON), written_again, "token_accuracy"),
}


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("size", mark_slow_after(1, [3, 1000]))
def test_a_user_metric_gets_the_inputs_of_the_built_in_one(case: str, size: int) -> None:
    words, function, name = CASES[case]
    files = USER_FILES.get(words[1].removeprefix("data="), {})
    made = lab(*words, f"batch_size={size}", *(f"data.{key}={value()}" for key, value in files.items()))
    own = as_computed_metric(type("own", (), {"higher_is_better": True, "compute": staticmethod(function)}))
    built_in = made.task.scores
    made.task.scores, made.task.computed_metrics = [own, *built_in], (own,)
    totals = ScoreAccumulator()
    with torch.no_grad():
        for batch in made.loaders["test"].iter_epoch(0):
            totals.update(made.task.eval().score(batch))
    found = made.task.metrics(totals.compute_totals())
    assert next(iter(found)) == "own"
    assert math.isfinite(found[name])
    assert found["own"] == pytest.approx(found[name], rel=1e-6)
