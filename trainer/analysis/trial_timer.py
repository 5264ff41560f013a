"""Callback of a trial: the times of the parts of a run, and the size of a step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch

from trainer.engine.budget import Rate
from trainer.engine.step_timer import StepTimer, synchronize
from trainer.engine.trainer import Trainer
from trainer.utils.cpu import make_clock
from trainer.viz.snapshots import SampleSnapshots

MIN_VALIDATIONS = 2
"""Timed validations that are enough; with fewer, one more is timed after training."""


class TrialTimer(StepTimer):
    """Callback that times a trial, ends it after a few steps, and writes what it has measured.

    Args:
        path: File to write, as JSON.
        seconds: Time for which steps are timed.
        cpu_time: Count the time of the processors instead of that of the clock, which other programs prolong.

    Attributes:
        validation_seconds: Seconds of each validation without a preview other than the first one, which imports
            packages.
    """

    def __init__(self, path: str, seconds: float = 2.5, cpu_time: bool = False):
        super().__init__(seconds, clock=make_clock(cpu_time=cpu_time))
        self.path = Path(path)
        self.report: dict[str, Any] = {}
        self.validation_seconds: list[float] = []
        self.num_validations = self.num_previews = 0
        self.fit_started_at = 0.0

    def on_fit_start(self, trainer: Trainer) -> None:
        self.report["fit_start"] = self.clock()
        self.fit_started_at = self.clock()
        super().on_fit_start(trainer)

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        now, num_previews = self.clock(), count_previews(trainer)
        if self.num_validations and num_previews == self.num_previews:
            self.validation_seconds.append(now - self._last_time)
        self.num_validations, self.num_previews = self.num_validations + 1, num_previews
        self.fit_started_at += self.clock() - now  # counting files is no part of a run

    def on_fit_end(self, trainer: Trainer) -> None:
        fit_seconds = self.clock() - self.fit_started_at
        validation = self._time_validation(trainer)
        preview = _time_preview(trainer, self.clock)
        rate = Rate(
            step=self.mean_seconds,
            epoch=self.epoch_seconds,
            validation=validation,
            preview=preview,
            steps_per_epoch=-(-len(trainer.train_loader) // trainer.settings.accumulate),
            val_every=trainer.settings.val_every,
        )
        copy_previews(trainer, rate.count_previews(trainer.total_steps))
        known = trainer.step * rate.step + trainer.epoch * rate.epoch
        known += self.num_validations * validation + self.num_previews * preview
        self.report |= {
            "rate": asdict(rate),
            "once": max(0.0, fit_seconds - known),
            "batches": len(trainer.train_loader),
            "total_steps": trainer.total_steps,
            "macs": count_step_macs(trainer) if trainer.step else 0,
            "training_rows": len(trainer.train_loader.split),
        }
        self.report["fit_end"] = self.clock()
        if trainer.strategy.process_group.is_main:
            self.path.write_text(json.dumps(self.report), encoding="utf-8")

    def _time_validation(self, trainer: Trainer) -> float:
        """Return the seconds of a validation without a preview."""
        if len(self.validation_seconds) < MIN_VALIDATIONS:
            started_at = self.clock()
            trainer.evaluate_loader(trainer.val_loader)
            synchronize(trainer.device)
            self.validation_seconds.append(self.clock() - started_at)
        return median(self.validation_seconds)


def count_previews(trainer: Trainer) -> int:
    """Return the number of previews that have been saved so far.

    Args:
        trainer: The trainer.
    """
    return sum(len(snapshots.list_files()) for snapshots in _find_snapshots(trainer))


def copy_previews(trainer: Trainer, count: int) -> None:
    """Copy the last preview, if there is one, so that the figure of all of them takes as long as that of the run.

    Args:
        trainer: The trainer.
        count: Number of previews of the run.
    """
    for snapshots in _find_snapshots(trainer):
        files = snapshots.list_files()
        for number in range(len(files), count if files else 0):
            shutil.copyfile(files[-1], files[-1].with_name(f"epoch-{trainer.epoch + number:04d}.npy"))


def _find_snapshots(trainer: Trainer) -> list[SampleSnapshots]:
    return [callback for callback in trainer.callbacks if isinstance(callback, SampleSnapshots)]


def _time_preview(trainer: Trainer, clock: Callable[[], float]) -> float:
    """Return the seconds in which the samples of a validation are drawn and saved; 0 if the task has none."""
    if not count_previews(trainer):
        return 0.0
    (snapshots,) = _find_snapshots(trainer)
    rows, trainer.history = trainer.history, trainer.history[-1:]
    started_at = clock()
    snapshots.on_validation_end(trainer, rows[-1])
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
