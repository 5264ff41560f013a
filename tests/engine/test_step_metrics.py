"""Metrics of a step equal the losses, gradients and schedules of the trainer."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.tiny import CYCLE, LeastSquares, Linear, losses_of, rows, tiny
from trainer.core.batch import Batch
from trainer.engine import step_metrics
from trainer.engine.callbacks import Callback, CallbackList
from trainer.engine.step_metrics import StepMetrics
from trainer.engine.trainer import Trainer


class Collector(Callback):
    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []
        self.norms: list[float] = []

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        self.metrics.append(dict(metrics))
        gradients = [p.grad for p in trainer.task.parameters() if p.grad is not None]
        self.norms.append(float(torch.nn.utils.get_total_norm(gradients)))


def test_step_metrics_match_loss_gradient_norm_and_lr() -> None:
    collector = Collector()
    trainer = tiny(train=rows(16), epochs=2, scheduler=CYCLE)
    trainer.callbacks = CallbackList([collector])
    losses = losses_of(trainer)
    assert [row["loss"] for row in collector.metrics] == losses
    assert [row["grad_norm"] for row in collector.metrics] == pytest.approx(collector.norms)
    schedule = trainer.param_groups["model"].schedule
    assert [row["lr"] for row in collector.metrics] == [schedule(step)[0] for step in range(8)]
    assert set(collector.metrics[0]) == {"loss", "grad_norm", "lr", "rows_per_second"}
    mean = math.fsum(losses[4:]) / 4
    assert trainer.history[1]["train_loss"] == pytest.approx(mean)


class TwoGroups(LeastSquares):
    """Two parameter groups with different learning rates; the second updates every other step."""

    def __init__(self) -> None:
        super().__init__(Linear())
        self.other = Linear()

    def param_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        return {"critic": self.model.parameters(), "generator": self.other.parameters()}

    def active_groups(self, step: int) -> tuple[str, ...]:
        return ("critic", "generator") if step % 2 else ("critic",)

    def count_active_steps(self, step: int) -> dict[str, int]:
        return {"critic": step, "generator": step // 2}

    def learning_rates(self) -> dict[str, float]:
        return {"generator": 0.02}

    def loss(self, batch: Batch, group: str) -> Tensor:
        error = (self.error(batch) + self.other(batch.inputs["x"])).square().mean()
        return error if group == "critic" else 3.0 + 0.0 * error


def test_each_param_group_has_its_own_metrics() -> None:
    collector = Collector()
    trainer = tiny(TwoGroups(), train=rows(16))
    trainer.callbacks = CallbackList([collector])
    trainer.fit()
    first, second = collector.metrics[:2]
    assert set(first) == {"loss", "grad_norm", "lr", "rows_per_second", "loss_critic", "grad_norm_critic", "lr_critic"}
    assert set(second) - set(first) == {"loss_generator", "grad_norm_generator", "lr_generator"}
    assert (second["loss_generator"], second["grad_norm_generator"], second["lr_generator"]) == (3.0, 0.0, 0.02)
    assert second["loss"] == pytest.approx((second["loss_critic"] + 3.0) / 2)
    assert (first["lr"], second["lr"]) == (0.1, 0.1)
    with pytest.raises(KeyError):
        trainer.step_metrics["loss_nobody"]


def test_throughput_excludes_time_between_training_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(step_metrics.time, "monotonic", lambda: now[0])
    metrics = StepMetrics({})
    for _ in range(4):
        metrics.start_timer()
        now[0] += 2
        metrics.record_rows(10)
        now[0] += 5  # a validation
    assert metrics["rows_per_second"] == 10 / 2


def test_a_step_that_updates_no_group_has_no_values() -> None:
    metrics = StepMetrics(tiny(train=rows(16)).param_groups)
    metrics.record_rows(4)
    assert all(math.isnan(metrics[name]) for name in ("loss", "grad_norm", "lr"))
    assert metrics["rows_per_second"] > 0
