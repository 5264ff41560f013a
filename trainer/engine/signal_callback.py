"""Interruption by signals: training ends after a batch, once every other callback has been called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.engine.callbacks import Callback
from trainer.engine.process_group import ProcessGroup
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


class SharedStopCallback(Callback):
    """Interrupts all processes at the same step if one of them has received a signal, or if a callback ends training.

    It must be the last callback.

    Args:
        flag: Set by the signal handler of this process.
        process_group: The processes.
    """

    def __init__(self, flag: StopFlag, process_group: ProcessGroup):
        self.flag = flag
        self.process_group = process_group

    def on_fit_start(self, trainer: Trainer) -> None:
        self._share_stop(trainer)

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        self._raise_if_stopped(self._share_stop(trainer))

    def on_evaluation_batch_end(self, trainer: Trainer) -> None:
        self._raise_if_stopped(self._share_stop(trainer))

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        self._share_stop(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        self._share_stop(trainer)

    def _share_stop(self, trainer: Trainer) -> int:
        """Set ``should_stop`` if a process has, and return the signal that a process has received, or 0."""
        own_values = [self.flag.signal_number or 0, int(trainer.should_stop)]
        signal_number, should_stop = self.process_group.find_maximum(own_values)
        trainer.should_stop = bool(should_stop)
        return signal_number

    def _raise_if_stopped(self, signal_number: int) -> None:
        # Not a signal that has arrived in the meantime: the other processes do not know of it.
        if signal_number:
            self.flag.signal_number = signal_number
            self.flag.raise_if_stopped()


def make_signal_callback(flag: StopFlag, process_group: ProcessGroup) -> Callback:
    """Return the callback that interrupts one process, or all processes of a group.

    Args:
        flag: Set by the signal handler of this process.
        process_group: The processes.
    """
    return SignalCallback(flag) if process_group.size == 1 else SharedStopCallback(flag, process_group)
