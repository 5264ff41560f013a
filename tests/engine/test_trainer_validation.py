"""What a validation looks at, what it keeps, and that it changes nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.lab import lab
from tests.helpers.tiny import SGD, Formula, Linear, NoisyLeastSquares, Numbers, losses_of, number, pull, tiny, weights
from trainer.engine import checkpoint
from trainer.engine.checkpoint import CheckpointManager
from trainer.engine.trainer import Trainer


def test_ema_weights_are_validated_and_the_weights_restored() -> None:
    seen: list[float] = []
    task = Formula(Numbers(w=[0.0]), pull([-1.0]))

    def look(_: dict[str, Tensor]) -> dict[str, float]:
        seen.append(number(task))
        return {"mse": 1.0 / len(seen)}

    task.metrics = look  # type: ignore[method-assign,assignment]
    trainer = tiny(task, optimizer=SGD | {"lr": 1.0}, epochs=2, ema=0.5)
    trainer.fit()  # eight steps of 1
    average, expected = 0.0, []
    for step in range(1, 9):
        keep = min(0.5, (1 + step) / (10 + step))
        average = keep * average + (1 - keep) * step
        expected.append(average)
    assert seen == pytest.approx([expected[3], expected[7]])
    assert number(task) == pytest.approx(8.0)
    trainer.load_best_weights()
    assert number(task) == pytest.approx(expected[7])
    assert trainer.evaluate_loader(trainer.val_loader)["mse"] > 0
    assert seen[-1] == pytest.approx(expected[7])


def scripted(scores: list[float], **changes: Any) -> Trainer:
    trainer = tiny(Formula(Numbers(w=[0.0]), pull([1.0]), scores), epochs=len(scores), **changes)
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
def test_the_best_epoch_and_the_end_of_patience(
    scores: list[float], patience: int | None, epochs: int, best: int | None
) -> None:
    trainer = scripted(scores, patience=patience, optimizer=SGD | {"lr": 1.0})
    assert trainer.epoch == len(trainer.history) == epochs
    assert trainer.best.epoch == best
    if best is None:
        assert trainer.best.weights is None
        return
    assert trainer.best.score == scores[best - 1]
    assert trainer.best.weights is not None
    assert trainer.best.weights["model.w"].item() == -4.0 * best  # four steps an epoch
    assert number(trainer.task) == -4.0 * epochs
    trainer.load_best_weights()
    assert number(trainer.task) == -4.0 * best


def test_the_best_and_the_last_are_what_the_keeper_gets(tmp_path: Path) -> None:
    scripted([0.3, 0.1, 0.2], optimizer=SGD | {"lr": 1.0}, keeper=CheckpointManager(tmp_path, {}))
    assert checkpoint.load_checkpoint(tmp_path / checkpoint.LAST)["task"]["model.w"].item() == -12.0
    best = checkpoint.load_checkpoint(tmp_path / checkpoint.BEST)
    assert (best["task"]["model.w"].item(), best["epoch"], best["score"], best["step"]) == (-8.0, 2, 0.1, 8)


def test_the_logged_loss_is_the_mean_since_the_last_validation() -> None:
    trainer = tiny(epochs=5, val_every=2)
    losses = losses_of(trainer)
    parts = (losses[:8], losses[8:16], losses[16:])
    assert [row["train_loss"] for row in trainer.history] == pytest.approx([sum(part) / len(part) for part in parts])


def test_validation_does_not_change_training() -> None:
    often = tiny(NoisyLeastSquares(Linear()), epochs=4, val_every=1, ema=0.5)
    losses = losses_of(often)
    seldom = tiny(NoisyLeastSquares(Linear()), epochs=4, val_every=3, ema=0.5)
    assert losses == losses_of(seldom)
    assert torch.equal(weights(often), weights(seldom))
    assert often.history[-1]["val_mse"] == seldom.history[-1]["val_mse"]
    assert often.evaluate_loader(often.val_loader) == often.evaluate_loader(often.val_loader)


@pytest.mark.slow
def test_validation_does_not_change_a_network_with_dropout() -> None:
    sizes = ("model=lstm", "model.dropout=0.3", "model.hidden_size=4", "data.rows=60", "data.length=3", "epochs=3")
    losses = losses_of(lab(*sizes, "val_every=1").trainer)
    assert losses == losses_of(lab(*sizes, "val_every=3").trainer)
    assert losses != losses_of(lab(*sizes, "seed=1").trainer)
