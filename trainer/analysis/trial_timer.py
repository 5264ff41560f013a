"""Callback of a trial: the times of the parts of a run, and the size of a step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from trainer.engine.step_timer import StepTimer, synchronize
from trainer.engine.trainer import Trainer
from trainer.viz.snapshots import SampleSnapshots

MIN_VALIDATIONS = 3
"""Validations from which the median is known; with fewer, one is timed after training."""


class TrialTimer(StepTimer):
    """Callback that times a trial, ends it after a few steps, and writes what it has measured.

    Args:
        path: File to write, as JSON.
        seconds: Time for which steps are timed.
        cpu_time: Count the time of the processors instead of that of the clock, which other programs prolong.
    """

    def __init__(self, path: str, seconds: float = 2.5, cpu_time: bool = False):
        super().__init__(seconds, clock=time.process_time if cpu_time else time.monotonic)
        self.path = Path(path)
        self.report: dict[str, Any] = {}
        self.validation_seconds: list[float] = []
        self.fit_started_at = 0.0

    def on_fit_start(self, trainer: Trainer) -> None:
        self.report["fit_start"] = self.clock()
        self.fit_started_at = self.clock()
        super().on_fit_start(trainer)

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        self.validation_seconds.append(self.clock() - self._last_time)

    def on_fit_end(self, trainer: Trainer) -> None:
        fit_seconds = self.clock() - self.fit_started_at
        validation = self._time_validation(trainer)
        preview = _time_snapshot(trainer, self.clock)
        num_previews = int(preview > 0)
        epochs = trainer.epoch
        known = trainer.step * self.mean_seconds + epochs * self.epoch_seconds
        known += len(self.validation_seconds) * validation + num_previews * preview
        self.report |= {
            "step_mean": self.mean_seconds,
            "epoch": self.epoch_seconds,
            "validation": validation,
            "preview": preview,
            "once": max(0.0, fit_seconds - known),
            "steps_per_epoch": -(-len(trainer.train_loader) // trainer.settings.accumulate),
            "batches": len(trainer.train_loader),
            "val_every": trainer.settings.val_every,
            "total_steps": trainer.total_steps,
            "macs": count_step_macs(trainer) if trainer.step else 0,
            "training_rows": len(trainer.train_loader.split),
        }
        self.report["fit_end"] = self.clock()
        if trainer.strategy.process_group.is_main:
            self.path.write_text(json.dumps(self.report), encoding="utf-8")

    def _time_validation(self, trainer: Trainer) -> float:
        """Return the seconds of a validation other than the first one, which imports packages."""
        if len(self.validation_seconds) >= MIN_VALIDATIONS:
            return median(self.validation_seconds[1:])
        started_at = self.clock()
        trainer.evaluate_loader(trainer.val_loader)
        synchronize(trainer.device)
        return self.clock() - started_at


def _time_snapshot(trainer: Trainer, clock: Callable[[], float]) -> float:
    """Return the seconds in which the samples of a validation are drawn and saved; 0 if the task has none."""
    snapshots = [callback for callback in trainer.callbacks if isinstance(callback, SampleSnapshots)]
    if not snapshots or not trainer.history or not snapshots[0].is_enabled or not snapshots[0].snapshot_dir.exists():
        return 0.0
    rows, trainer.history = trainer.history, trainer.history[-1:]
    started_at = clock()
    snapshots[0].on_validation_end(trainer, rows[-1])
    synchronize(trainer.device)
    trainer.history = rows
    return clock() - started_at


def count_step_macs(trainer: Trainer) -> int | None:
    """Return the multiply-adds of a step: matrix products, convolutions and attention, forward and backward.

    Nothing element-wise is counted, and no update. Recurrent layers are computed without fused kernels, whose
    backward pass cannot be counted.

    Args:
        trainer: The trainer, whose gradients are overwritten.

    Returns:
        The number; None where it cannot be counted: compiled, or on several processes.
    """
    if trainer.settings.compile or trainer.strategy.process_group.size > 1:
        return None
    from trainer.engine.flop_count import FlopCounter  # here: a run does not need it before its first step

    trainer.task.train()
    total, names = 0, trainer.task.param_groups()
    updates = trainer.task.count_active_steps(max(1, trainer.total_steps))
    for name in names:
        batch = next(iter(trainer.strategy.iter_epoch(trainer.train_loader, 0, 0)))
        with (
            torch.backends.mkldnn.flags(enabled=False),
            torch.backends.cudnn.flags(enabled=False),
            FlopCounter() as counter,
        ):
            trainer.strategy.compute_gradient(trainer, trainer.param_groups[name], [batch])
        share = updates[name] / max(1, trainer.total_steps)
        total += round(counter.flops / 2 * share)
    trainer.task.eval()
    return total * trainer.settings.accumulate
