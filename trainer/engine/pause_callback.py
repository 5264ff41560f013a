"""Pause of a run after a given step, so that a search can continue it later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.engine.callbacks import Callback
from trainer.utils.errors import Paused

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer


class PauseCallback(Callback):
    """Ends the process of a run between two epochs; the run continues from its checkpoint, to the same bits.

    A run that has ended before, by early stopping or its number of steps, is not paused.

    Args:
        step: Number of steps after which the run pauses at the end of an epoch.
    """

    def __init__(self, step: int):
        self.step = step

    def on_fit_start(self, trainer: Trainer) -> None:
        if trainer.batch == 0:  # it was paused here before
            self._pause(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        self._pause(trainer)

    def _pause(self, trainer: Trainer) -> None:
        if trainer.step >= self.step and not trainer.is_finished():
            raise Paused(trainer.step)


def make_pause_callbacks(step: int | None) -> list[Callback]:
    """Return the callback that pauses a run, in a list that is empty if the run is not to be paused.

    Args:
        step: Number of steps after which it pauses; None for never.
    """
    return [] if step is None else [PauseCallback(step)]
