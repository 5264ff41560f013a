"""Early stopping: end training when the monitored metric no longer improves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.engine.callbacks import Callback

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer


class EarlyStopping(Callback):
    """Ends training when the monitored metric has not improved for several validations in a row.

    It has no state, because the history of the trainer contains the validations since the best one.

    Args:
        patience: Number of validations without an improvement, at least 1.
    """

    def __init__(self, patience: int):
        self.patience = patience

    def on_fit_start(self, trainer: Trainer) -> None:
        self._stop_if_due(trainer)

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        self._stop_if_due(trainer)

    def _stop_if_due(self, trainer: Trainer) -> None:
        if trainer.best.count_validations_since(trainer.history) >= self.patience:
            trainer.should_stop = True
