"""Saving of checkpoints: at intervals, on an interruption, and at the end of training."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from trainer.core import rng
from trainer.engine.callbacks import Callback
from trainer.engine.checkpoint import CheckpointManager
from trainer.utils.errors import Interrupted

if TYPE_CHECKING:
    from trainer.engine.step_metrics import StepMetrics
    from trainer.engine.trainer import Trainer


class CheckpointCallback(Callback):
    """Saves the last state and the best weights at intervals.

    It must come after all callbacks that have a state, so that their states are saved as of the same step.

    Args:
        manager: Writes the files.
        save_every: Seconds between checkpoints.
    """

    def __init__(self, manager: CheckpointManager, save_every: float):
        self.manager = manager
        self.save_every = save_every
        self._saved_at = time.monotonic()

    def on_fit_start(self, trainer: Trainer) -> None:
        self._saved_at = time.monotonic()

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        self._save_if_due(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        self._save_if_due(trainer)

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        if isinstance(error, Interrupted):
            self.save(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        self.save(trainer)

    def _save_if_due(self, trainer: Trainer) -> None:
        if time.monotonic() - self._saved_at >= self.save_every:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Save the state of a trainer, and its best weights if they have changed."""
        best = trainer.best
        self.manager.save(trainer.state_dict(), None if best.is_saved else best.make_checkpoint())
        best.is_saved = True
        self._saved_at = time.monotonic()
        trainer.last_checkpoint_step = trainer.step
        with rng.preserve_generators():  # the time of a checkpoint is not deterministic
            trainer.callbacks.on_checkpoint(trainer, self.manager.last_path)
