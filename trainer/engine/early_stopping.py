"""Early stopping: when nothing better is to be expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.engine.callbacks import Callback

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer


class EarlyStopping(Callback):
    """Ends training when the monitored score has not improved for ``patience`` validations in a row.

    It keeps no state: how long ago the best score was stands in the history.
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
