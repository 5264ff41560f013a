"""Saving of checkpoints: at intervals, on an interruption, and at the end of training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainer.core import rng
from trainer.engine import kept_checkpoints
from trainer.engine.best_checkpoint import BestCheckpoint
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
        manager: Writes the files, and knows which are kept.
        save_every: Seconds between checkpoints; None for none by time.
        save_every_steps: Steps between checkpoints; None for none by steps.
    """

    def __init__(self, manager: CheckpointManager, save_every: float | None, save_every_steps: int | None = None):
        self.manager = manager
        self.save_every = save_every
        self.step_intervals = [steps for steps in (save_every_steps, manager.retention.every) if steps is not None]
        self._saved_at = time.monotonic()

    def on_fit_start(self, trainer: Trainer) -> None:
        self._saved_at = time.monotonic()

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        if self._is_due() or any(trainer.step % steps == 0 for steps in self.step_intervals):
            self.save(trainer, is_periodic=True)

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        if self.manager.retention.best > 1:
            self._save_if_ranked(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self._is_due():
            self.save(trainer, is_periodic=True)

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        if isinstance(error, Interrupted):
            self.save(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        self.save(trainer)

    def _is_due(self) -> bool:
        return self.save_every is not None and time.monotonic() - self._saved_at >= self.save_every

    def save(self, trainer: Trainer, *, is_periodic: bool = False) -> None:
        """Save the state of a trainer, and its best weights if they have changed.

        Args:
            trainer: The trainer.
            is_periodic: Whether the state is one of those that may be kept.
        """
        best = trainer.best
        new_best = None if best.is_saved else best.make_checkpoint()
        self.manager.save(trainer.state_dict(), new_best, is_periodic=is_periodic)
        best.is_saved = True
        self._saved_at = time.monotonic()
        trainer.last_checkpoint_step = trainer.step
        with rng.preserve_generators():  # the time of a checkpoint is not deterministic
            trainer.callbacks.on_checkpoint(trainer, self.manager.last_path)

    def _save_if_ranked(self, trainer: Trainer) -> None:
        """Save the weights of the last validation if they are among the best so far."""
        ranked_steps = kept_checkpoints.rank_validations(trainer.history, trainer.monitor_metric)
        row = trainer.history[-1]
        if row["step"] not in ranked_steps[: self.manager.retention.best]:
            return
        is_best = trainer.best.step == trainer.step
        weights = trainer.best.make_checkpoint() if is_best else _copy_weights(trainer, row)
        self.manager.save_ranked_weights(weights, trainer.step, ranked_steps)


def _copy_weights(trainer: Trainer, row: Mapping[str, float]) -> dict[str, Any]:
    """Return the checkpoint of the weights of the last validation, of which ``row`` is the row of the history."""
    validated = BestCheckpoint(trainer.monitor_metric)
    scores = {name.removeprefix("val_"): value for name, value in row.items() if name.startswith("val_")}
    with trainer.ema_weights():
        validated.replace_weights(scores, int(row["epoch"]), trainer.step, trainer.task.state_dict())
    return validated.make_checkpoint()
