"""Interruption by signals: training ends after a batch, once every other callback has been called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.engine.callbacks import Callback
from trainer.utils.signals import StopFlag

if TYPE_CHECKING:
    from trainer.engine.step_metrics import StepMetrics
    from trainer.engine.trainer import Trainer


class SignalCallback(Callback):
    """Interrupts training or evaluation between two batches after a signal; it must be the last callback.

    Args:
        flag: Set by the signal handler.
    """

    def __init__(self, flag: StopFlag):
        self.flag = flag

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        self.flag.raise_if_stopped()

    def on_evaluation_batch_end(self, trainer: Trainer) -> None:
        self.flag.raise_if_stopped()
