"""The training loop: updates, accumulation, clipping, precision, and non-finite values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.tiny import (
    CYCLE,
    MOMENTUM,
    SGD,
    Formula,
    Linear,
    Numbers,
    Unweighted,
    make_linear_loss,
    rows,
    tiny,
    weights,
)
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.split import TensorSplit
from trainer.engine import checkpoint
from trainer.engine.callbacks import Callback
from trainer.engine.checkpoint import CheckpointManager
from trainer.engine.step_metrics import StepMetrics
from trainer.engine.trainer import Trainer
from trainer.tasks.classification import Classification
from trainer.utils.errors import NonFiniteError


@pytest.mark.parametrize(("batch_size", "accumulate"), [(4, 3), (1, 11), (3, 4), (7, 2)])
def test_accumulation_equals_one_large_batch(batch_size: int, accumulate: int) -> None:
    large, small = (tiny(train=rows(11), batch_size=b, accumulate=a) for b, a in ((11, 1), (batch_size, accumulate)))
    naive = tiny(Unweighted(Linear()), train=rows(11), batch_size=batch_size, accumulate=accumulate)
    for trainer in (large, small, naive):
        trainer.fit()
        assert trainer.step == 1
    torch.testing.assert_close(weights(small), weights(large), rtol=1e-6, atol=1e-6)
    assert large.history[0]["train_loss"] == pytest.approx(small.history[0]["train_loss"], rel=1e-6)
    assert large.history[0]["grad_norm"] == pytest.approx(small.history[0]["grad_norm"], rel=1e-6)
    if batch_size > 1:  # (with batches of one row the mean of means is the mean)
        assert not torch.allclose(weights(naive), weights(large), rtol=1e-3, atol=1e-3)


class PerStep(nn.Module):
    shapes = "x (B, F) -> (B, C, T)"

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2 * 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x).view(len(x), 2, 5)


class PerStepUnweighted(Classification):
    def num_loss_terms(self, batch: Batch) -> Tensor:
        return torch.tensor(1)


def mask_targets(split: TensorSplit, counted: list[int]) -> TensorSplit:
    """Add class targets of five steps a row, of which the first ``counted`` are not ignored."""
    target = (torch.arange(len(split) * 5).view(-1, 5) * 7 // 3) % 2
    for row, count in enumerate(counted):
        target[row, count:] = IGNORE_INDEX
    return TensorSplit(split.inputs, target)


def classify(kind: type[Classification], counted: list[int], **changes: Any) -> Trainer:
    torch.manual_seed(0)
    task = kind(PerStep(), num_classes=2, label_smoothing=0.1, scores=["nll"])
    trainer = tiny(task, train=mask_targets(rows(len(counted)), counted), **changes)
    while trainer.step < trainer.total_steps:
        trainer.train_epoch()
    return trainer


def test_accumulation_of_masked_targets_equals_one_large_batch() -> None:
    counted = [5, 1, 0, 3, 5, 2, 4, 1, 1, 5, 3]
    large = classify(Classification, counted, batch_size=11)
    small = classify(Classification, counted, batch_size=4, accumulate=3)
    naive = classify(PerStepUnweighted, counted, batch_size=4, accumulate=3)
    torch.testing.assert_close(weights(small), weights(large), rtol=1e-6, atol=1e-6)
    assert not torch.allclose(weights(naive), weights(large), rtol=1e-4, atol=1e-4)


def test_accumulated_batch_without_counted_targets_adds_nothing() -> None:
    counted = [5, 0, 0, 3]
    large = classify(Classification, counted, batch_size=4)
    small = classify(Classification, counted, batch_size=1, accumulate=4)
    torch.testing.assert_close(weights(small), weights(large), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_accumulated_batches_without_counted_targets_change_no_weights(accumulate: int) -> None:
    counted = [0] * 6 + [4]
    trainer = classify(Classification, counted, batch_size=1, accumulate=accumulate)
    alone = classify(Classification, counted, batch_size=7)
    torch.testing.assert_close(weights(trainer), weights(alone), rtol=1e-6, atol=1e-6)
    assert trainer.nan_guard.compute_means()[0] > 0


@pytest.mark.parametrize(
    ("clip", "mode", "moved"),
    [
        (None, "norm", [3.0, 4.0]),
        (1.0, "norm", [0.6, 0.8]),
        (10.0, "norm", [3.0, 4.0]),
        (3.5, "value", [3.0, 3.5]),
        (0.5, "value", [0.5, 0.5]),
    ],
)
def test_gradient_clipping_by_norm_and_value(clip: float | None, mode: str, moved: list[float]) -> None:
    task = Formula(Numbers(w=[0.0, 0.0]), make_linear_loss([3.0, 4.0]))
    trainer = tiny(task, optimizer=SGD | {"lr": 1.0}, max_steps=1, grad_clip=clip, grad_clip_mode=mode)
    trainer.fit()
    assert task.model.get_parameter("w").tolist() == pytest.approx([-m for m in moved], rel=1e-5)
    assert trainer.history[0]["grad_norm"] == pytest.approx(5.0)  # before clipping


class WeightRecorder(Callback):
    """Records the weights after each step."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        self.weights.append(weights(trainer))


def test_a_nonfinite_row_stops_the_run_before_the_update() -> None:
    split = rows(16)
    split.inputs["x"][7] = math.nan
    callback = WeightRecorder()
    trainer = tiny(train=split, callback=callback, epochs=3)
    at = next(step for step, index in enumerate(trainer.train_loader.make_batch_order(0)) if 7 in index)
    bad_rows = ", ".join(map(str, trainer.train_loader.make_batch_order(0)[at].tolist()))
    with pytest.raises(NonFiniteError) as stopped:
        trainer.fit()
    assert len(callback.weights) == trainer.step == at > 0
    assert torch.equal(weights(trainer), callback.weights[-1])
    assert stopped.value.exit_code == 3
    for word in (
        f"loss nan, gradient norm nan at step {at + 1}, epoch 1 (model, lr 0.1)",
        f"rows of the batch: {bad_rows}",
        "model.head.weight",
        "no checkpoint yet",
    ):
        assert word in str(stopped.value)


GRADIENTS = {
    "inf": lambda model: model.w.sum() + model.z.sqrt().sum(),  # the derivative of the root at 0
    "nan": lambda model: model.w.sum() + (model.z - model.z.detach()).abs().sqrt().sum(),
}


@pytest.mark.parametrize(
    ("kind", "clip", "mode"),
    [
        ("inf", None, "norm"),
        ("nan", None, "norm"),
        ("inf", 1.0, "norm"),
        ("nan", 1.0, "norm"),
        ("inf", 1.0, "value"),
        ("nan", 1.0, "value"),
    ],
)
def test_a_nonfinite_gradient_under_a_finite_loss_is_reported(kind: str, clip: float | None, mode: str) -> None:
    trainer = tiny(
        Formula(Numbers(w=[1.0, 2.0], z=[0.0]), GRADIENTS[kind]), epochs=1, grad_clip=clip, grad_clip_mode=mode
    )
    before = weights(trainer)
    with pytest.raises(NonFiniteError, match=r"loss 3, gradient norm (inf|nan) at step 1, ") as stopped:
        trainer.fit()
    assert torch.equal(weights(trainer), before)
    assert "\nfirst non-finite gradient: model.z\n" in str(stopped.value)


def test_bf16_learns_and_is_not_full_precision() -> None:
    half, full = (tiny(train=rows(200), epochs=5, precision=p) for p in ("bf16", 32))
    target = rows(10, seed=1).target
    assert target is not None
    baseline = float(target.var(correction=0))
    for trainer in (half, full):
        trainer.fit()
    assert half.history[-1]["val_mse"] == pytest.approx(full.history[-1]["val_mse"], rel=0.05)
    assert half.history[-1]["val_mse"] < 0.4 * baseline
    assert not torch.equal(weights(half), weights(full))


def test_fp16_skips_an_overflow_and_its_scale_is_restored(tmp_path: Path) -> None:
    trainer = tiny(train=rows(64), precision="fp16", epochs=2, manager=CheckpointManager(tmp_path, {}))
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 2.0**60})
    before = weights(trainer)
    trainer.train_epoch()
    assert torch.equal(weights(trainer), before), "a step was taken with an overflowing gradient"
    assert trainer.scaler.get_scale() == 2.0 ** (60 - 16)
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 2.0**10})
    trainer.epoch, trainer.batch = 1, 0
    trainer.train_epoch()
    assert not torch.equal(weights(trainer), before)
    trainer.callbacks.on_fit_end(trainer)
    again = tiny(train=rows(64), precision="fp16", epochs=2)
    assert again.scaler.state_dict() != trainer.scaler.state_dict()
    again.load_state_dict(checkpoint.load_newest(tmp_path), None)
    assert again.scaler.state_dict() == trainer.scaler.state_dict()
    again.scaler.scale(torch.ones(()))
    assert again.scaler.get_scale() == 2.0**10


def test_all_options_combined_train_to_the_last_step() -> None:
    trainer = tiny(
        train=rows(30),
        optimizer=MOMENTUM,
        scheduler=CYCLE,
        accumulate=3,
        ema=0.8,
        grad_clip=2.0,
        epochs=12,
        precision="bf16",
    )
    trainer.fit()
    assert trainer.step == 12 * 3
    assert trainer.param_groups["model"].lr == trainer.param_groups["model"].schedule.final_lr  # type: ignore[attr-defined]
    assert trainer.history[-1]["val_mse"] < 0.4 * trainer.history[0]["val_mse"]
