"""Validation: the weights that are scored and saved, and no effect on training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.lab import lab
from tests.helpers.tiny import (
    SGD,
    Formula,
    Linear,
    NoisyLeastSquares,
    Numbers,
    get_scalar,
    losses_of,
    make_linear_loss,
    tiny,
    weights,
)
from trainer.engine import checkpoint
from trainer.engine.checkpoint import CheckpointManager
from trainer.engine.trainer import Trainer


def test_ema_weights_are_validated_and_the_weights_restored() -> None:
    validated: list[float] = []
    task = Formula(Numbers(w=[0.0]), make_linear_loss([-1.0]))

    def record_weight(_: dict[str, Tensor]) -> dict[str, float]:
        validated.append(get_scalar(task))
        return {"mse": 1.0 / len(validated)}

    task.metrics = record_weight  # type: ignore[method-assign,assignment]
    trainer = tiny(task, optimizer=SGD | {"lr": 1.0}, epochs=2, ema=0.5)
    trainer.fit()  # eight steps of 1
    average, expected = 0.0, []
    for step in range(1, 9):
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * step
        expected.append(average)
    assert validated == pytest.approx([expected[3], expected[7]])
    assert get_scalar(task) == pytest.approx(8.0)
    trainer.load_best_weights()
    assert get_scalar(task) == pytest.approx(expected[7])
    assert trainer.evaluate_loader(trainer.val_loader)["mse"] > 0
    assert validated[-1] == pytest.approx(expected[7])


def train_with_scores(scores: list[float], **changes: Any) -> Trainer:
    trainer = tiny(Formula(Numbers(w=[0.0]), make_linear_loss([1.0]), scores), epochs=len(scores), **changes)
    trainer.fit()
    return trainer


@pytest.mark.parametrize(
    ("scores", "patience", "epochs", "best"),
    [
        ([0.5, 0.6, 0.7, 0.1], None, 4, 4),
        ([0.5, 0.6, 0.7, 0.1], 2, 3, 1),
        ([0.5, 0.6, 0.4, 0.6, 0.6, 0.1], 2, 5, 3),
        ([math.nan, 0.5, math.nan, 0.4], None, 4, 4),
        ([math.nan, 0.5, math.nan, 0.6], None, 4, 2),
        ([math.nan, math.nan, 0.5], 2, 2, None),
        ([math.inf, 0.5], 2, 2, 2),
    ],
)
def test_best_epoch_and_patience_follow_the_scores(
    scores: list[float], patience: int | None, epochs: int, best: int | None
) -> None:
    trainer = train_with_scores(scores, patience=patience, optimizer=SGD | {"lr": 1.0})
    assert trainer.epoch == len(trainer.history) == epochs
    assert trainer.best.epoch == best
    if best is None:
        assert trainer.best.weights is None
        return
    assert trainer.best.score == scores[best - 1]
    assert trainer.best.weights is not None
    assert trainer.best.weights["model.w"].item() == -4.0 * best  # four steps an epoch
    assert get_scalar(trainer.task) == -4.0 * epochs
    trainer.load_best_weights()
    assert get_scalar(trainer.task) == -4.0 * best


def test_best_and_last_weights_are_saved(tmp_path: Path) -> None:
    train_with_scores([0.3, 0.1, 0.2], optimizer=SGD | {"lr": 1.0}, manager=CheckpointManager(tmp_path, {}))
    assert checkpoint.load_checkpoint(tmp_path / checkpoint.LAST)["task"]["model.w"].item() == -12.0
    best = checkpoint.load_checkpoint(tmp_path / checkpoint.BEST)
    assert (best["task"]["model.w"].item(), best["epoch"], best["score"], best["step"]) == (-8.0, 2, 0.1, 8)


def test_the_logged_loss_is_the_mean_since_the_last_validation() -> None:
    trainer = tiny(epochs=5, val_every=2)
    losses = losses_of(trainer)
    intervals = (losses[:8], losses[8:16], losses[16:])
    assert [row["train_loss"] for row in trainer.history] == pytest.approx(
        [sum(interval) / len(interval) for interval in intervals]
    )


def test_validation_does_not_change_training() -> None:
    frequent = tiny(NoisyLeastSquares(Linear()), epochs=4, val_every=1, ema=0.5)
    losses = losses_of(frequent)
    infrequent = tiny(NoisyLeastSquares(Linear()), epochs=4, val_every=3, ema=0.5)
    assert losses == losses_of(infrequent)
    assert torch.equal(weights(frequent), weights(infrequent))
    assert frequent.history[-1]["val_mse"] == infrequent.history[-1]["val_mse"]
    assert frequent.evaluate_loader(frequent.val_loader) == frequent.evaluate_loader(frequent.val_loader)


@pytest.mark.slow
def test_validation_does_not_change_a_network_with_dropout() -> None:
    sizes = ("model=lstm", "model.dropout=0.3", "model.hidden_size=4", "data.rows=60", "data.length=3", "epochs=3")
    losses = losses_of(lab(*sizes, "val_every=1").trainer)
    assert losses == losses_of(lab(*sizes, "val_every=3").trainer)
    assert losses != losses_of(lab(*sizes, "seed=1").trainer)
