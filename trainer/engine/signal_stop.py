"""The answer to signals: at the end of a batch, when every other callback has seen it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.engine.callbacks import Callback
from trainer.utils.signals import StopFlag

if TYPE_CHECKING:
    from trainer.engine.step_metrics import StepMetrics
    from trainer.engine.trainer import Trainer


class SignalStop(Callback):
    """Interrupts training or an evaluation between two batches if a signal has come. The last callback of a list."""

    def __init__(self, flag: StopFlag):
        self.flag = flag

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        self.flag.raise_if_stopped()

    def on_evaluation_batch_end(self, trainer: Trainer) -> None:
        self.flag.raise_if_stopped()
