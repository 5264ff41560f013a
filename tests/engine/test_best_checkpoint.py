"""Selection of the best weights: by the monitored metric, and among ties by a finer one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.helpers.lab import lab
from trainer.engine.best_checkpoint import BestCheckpoint
from trainer.metrics.registry import BUILTIN_METRICS


def select_epochs(monitor: str, validations: list[dict[str, float]]) -> list[int | None]:
    """Return the best epoch after each validation."""
    best, found = BestCheckpoint(BUILTIN_METRICS[monitor]), []
    for epoch, scores in enumerate(validations, 1):
        if best.is_improvement(scores):
            best.replace_weights(scores, epoch, epoch, {"w": torch.tensor(float(epoch))})
        found.append(best.epoch)
    return found


@pytest.mark.parametrize(
    ("nll", "epochs"),
    [
        ([0.9, 0.7, 0.8, 0.6], [1, 2, 2, 4]),
        ([0.5, 0.5, 0.5, 0.5], [1, 1, 1, 1]),
        ([0.5, math.nan, 0.4, 0.6], [1, 1, 3, 3]),
    ],
)
def test_equal_accuracies_are_ranked_by_nll(nll: list[float], epochs: list[int]) -> None:
    assert select_epochs("accuracy", [{"accuracy": 0.8, "nll": value} for value in nll]) == epochs


def test_better_score_wins_and_first_of_ties_is_kept() -> None:
    assert select_epochs("accuracy", [{"accuracy": 0.8, "nll": 0.1}, {"accuracy": 0.9, "nll": 5.0}]) == [1, 2]
    assert select_epochs("accuracy", [{"accuracy": 0.9, "nll": 5.0}, {"accuracy": 0.8, "nll": 0.1}]) == [1, 1]
    assert select_epochs("mse", [{"mse": 0.5}, {"mse": 0.5}]) == [1, 1]
    assert select_epochs("nll", [{"nll": 0.5}, {"nll": 0.5}]) == [1, 1]


def test_finer_score_is_restored_and_optional() -> None:
    best = BestCheckpoint(BUILTIN_METRICS["f1"])
    best.replace_weights({"f1": 0.5, "nll": 0.7}, 1, 1, {})
    again = BestCheckpoint(BUILTIN_METRICS["f1"])
    again.load_state_dict(best.state_dict(), None)
    assert [again.is_improvement({"f1": 0.5, "nll": value}) for value in (0.6, 0.7, 0.8)] == [True, False, False]
    state: dict[str, Any] = best.state_dict()
    del state["tiebreak_score"]
    again.load_state_dict(state, None)
    assert not again.is_improvement({"f1": 0.5, "nll": 0.1})


def test_training_with_tied_accuracies_selects_lowest_nll() -> None:
    made = lab("model=mlp", "data=moons", "data.rows=60", "epochs=15", "optimizer.lr=1e-2", "monitor=accuracy")
    made.trainer.fit()
    history = made.trainer.history
    top = max(row["val_accuracy"] for row in history)
    tied = [row for row in history if row["val_accuracy"] == top]
    assert len(tied) > 1
    assert made.trainer.best.epoch == min(tied, key=lambda row: row["val_nll"])["epoch"]
