"""When the state of a run is written: now and then, when it is interrupted, and at its end."""

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
    """Saves the last state and the best weights every ``save_every`` seconds.

    It comes after all callbacks that have a state, so that what is saved is what they know after the same step.
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
        """Write the state of a trainer, and its best weights if they are new."""
        best = trainer.best
        self.manager.save(trainer.state_dict(), None if best.is_saved else {"task": best.weights, **best.state_dict()})
        best.is_saved = True
        self._saved_at = time.monotonic()
        trainer.last_checkpoint_step = trainer.step
        with rng.preserve_generators():  # when a run is saved is a matter of time
            trainer.callbacks.on_checkpoint(trainer, self.manager.last_path)
