"""The parts of a run that a trial times: their sum is the time of the run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.tiny import LeastSquares, Linear, tiny
from trainer.analysis import trial_timer
from trainer.analysis.trial import Trial
from trainer.analysis.trial_timer import TrialTimer
from trainer.core.artifacts import Artifact
from trainer.core.batch import Batch
from trainer.engine.callbacks import CallbackList
from trainer.engine.trainer import Trainer
from trainer.viz.snapshots import SampleSnapshots

STEP, VALIDATION, PREVIEW = 0.25, 2.0, 16.0


class TimedTask(LeastSquares):
    """A task whose steps, validations and previews take a certain time of a clock of its own."""

    def __init__(self) -> None:
        super().__init__(Linear())
        self.now = 0.0

    def loss(self, batch: Batch, group: str) -> Tensor:
        self.now += STEP
        return super().loss(batch, group)

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        self.now += VALIDATION
        return super().metrics(totals)

    def sample_preview(self) -> Tensor:
        self.now += PREVIEW
        return torch.zeros(1)

    def render_preview(self, name: str, snapshots: Sequence[tuple[str, Tensor]]) -> Iterator[Artifact]:
        return iter(())


def time_trial(path: Path, seconds: float, epochs: int, draws: bool = True) -> tuple[Trainer, dict[str, Any]]:
    """Time a trial, and return its trainer and its report."""
    task = TimedTask()
    timer = TrialTimer(str(path / "timer.json"), seconds)
    timer.clock = lambda: task.now
    timer.start_epoch()
    trainer = tiny(task, epochs=epochs)
    trainer.callbacks = CallbackList([SampleSnapshots(path, seed=0, is_enabled=draws), timer])
    trainer.fit()
    return trainer, json.loads((path / "timer.json").read_text())


@pytest.mark.parametrize("draws", [True, False])
@pytest.mark.parametrize("epochs", [1, 2, 6, 20])
def test_the_sum_of_the_parts_is_the_time_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int, draws: bool
) -> None:
    """With previews at each validation or at some of them, as many as the trial itself has saved."""
    monkeypatch.setattr(trial_timer, "count_step_macs", lambda _: 0)
    trainer, report = time_trial(tmp_path, seconds=1e9, epochs=epochs, draws=draws)
    parts = {name: report["rate"][name] for name in ("step", "validation", "preview")}
    assert parts == {"step": STEP, "validation": VALIDATION, "preview": PREVIEW * draws}
    num_previews = min(epochs, 9) if draws else 0
    seconds = trainer.step * STEP + epochs * VALIDATION + num_previews * PREVIEW
    assert Trial(report, 0.0, 0.0).estimate_training_seconds(trainer.step) == seconds


@pytest.mark.parametrize(("epochs", "num_previews"), [(4, 4), (20, 9)])
def test_the_figure_of_all_previews_is_drawn_with_as_many_as_the_run_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int, num_previews: int
) -> None:
    monkeypatch.setattr(trial_timer, "count_step_macs", lambda _: 0)
    trainer, _ = time_trial(tmp_path, seconds=0.0, epochs=epochs)
    assert trainer.epoch < epochs, "a trial ends early"
    (snapshots,) = (each for each in trainer.callbacks if isinstance(each, SampleSnapshots))
    assert len(snapshots.list_files()) == num_previews
