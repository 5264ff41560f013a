"""Tiny runs with a logger that are interrupted or crash and are resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.helpers.tiny import StopAt, rows, tiny
from trainer.engine import checkpoint
from trainer.engine.callbacks import Callback, CallbackList
from trainer.engine.checkpoint import CheckpointManager
from trainer.engine.checkpoint_callback import CheckpointCallback
from trainer.engine.step_metrics import StepMetrics
from trainer.engine.trainer import Trainer
from trainer.utils.errors import Interrupted
from trainer.viz.loggers.logger import LoggedRun, Logger

CONFIG = {"epochs": 3, "model": {"hidden": [4], "api_key": "***"}}
STEPS = 12
"""4 an epoch, of 3 epochs."""
Points = Mapping[str, list[tuple[int, float]]]
"""The (step, value) pairs that a tool has of each metric, in its order."""


class Crash(Callback):
    """Simulates the end of the process: loggers are not notified and nothing is saved."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        if trainer.step == self.step:
            trainer.callbacks = CallbackList()
            raise ProcessGone


class ProcessGone(BaseException):
    """Simulates SIGKILL."""


class SaveAt(CheckpointCallback):
    """Saves after one step, when it is interrupted, and at the end."""

    def __init__(self, manager: CheckpointManager, step: int | None):
        super().__init__(manager, math.inf)
        self.step = step

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        if trainer.step == self.step:
            self.save(trainer)


def describe_run(folder: Path) -> LoggedRun:
    return LoggedRun(folder, folder / "metrics.csv", CONFIG)


def train_logged(folder: Path, logger: Logger, *, end: Callback | None = None, save_at: int | None = None) -> Trainer:
    """Train in a folder, from its checkpoint if it has one, until the end or the callback that ends it."""
    trainer = tiny(train=rows(16), epochs=3)
    logger.name = "logger.mine"
    logger.setup(describe_run(folder), 1)
    saving = SaveAt(CheckpointManager(folder, {}), save_at)
    trainer.callbacks = CallbackList([logger, saving, *([end] if end else [])])
    if checkpoint.has_checkpoint(folder):
        state = checkpoint.load_newest(folder)
        best = checkpoint.load_checkpoint(folder / checkpoint.BEST) if state["best"]["step"] else None
        trainer.load_state_dict(state, best)
    if end is None:
        trainer.fit()
        logger.end("finished")
    else:
        with pytest.raises((Interrupted, ProcessGone)):
            trainer.fit()
    return trainer


def check_points(
    make: Callable[[Path], Logger],
    read: Callable[[Path, Logger], Points],
    folder: Path,
    leave: Callable[[], object] = lambda: None,
) -> None:
    """Check that a run stopped at step 5 and one that crashed at step 7 and lost three steps have each step once.

    leave: has the tool forget the run that crashed, which the end of a process would do.
    """
    for name in ("whole", "stopped", "crashed"):
        (folder / name).mkdir()
    found = {}
    logger = make(folder / "whole")
    trainer = train_logged(folder / "whole", logger)
    found["whole"] = read(folder / "whole", logger)
    train_logged(folder / "stopped", make(folder / "stopped"), end=StopAt(5))
    logger = make(folder / "stopped")
    train_logged(folder / "stopped", logger)
    found["stopped"] = read(folder / "stopped", logger)
    train_logged(folder / "crashed", make(folder / "crashed"), end=Crash(7), save_at=4)
    leave()
    logger = make(folder / "crashed")
    train_logged(folder / "crashed", logger)
    found["crashed"] = read(folder / "crashed", logger)
    assert [step for step, _ in found["whole"]["train/loss"]] == list(range(1, STEPS + 1))
    assert [step for step, _ in found["whole"]["val/mse"]] == [4, 8, 12]
    assert [value for _, value in found["whole"]["val/mse"]] == pytest.approx(
        [row["val_mse"] for row in trainer.history], rel=1e-6
    )
    for points in found.values():
        for metric in ("train/loss", "train/lr", "train/grad_norm", "val/mse", "epoch/train_loss"):
            assert points[metric] == found["whole"][metric], metric
        assert all(value > 0 for _, value in points["train/rows_per_second"])
