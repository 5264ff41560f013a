"""Requests of process 0 for the state of a trainer, which it cannot gather without the other processes.

Only process 0 saves checkpoints, at times that the others do not know. At the end of each hook they wait until it has
gathered as many states as it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.engine.callbacks import Callback
from trainer.engine.process_group import ProcessGroup

if TYPE_CHECKING:
    from trainer.engine.step_metrics import StepMetrics
    from trainer.engine.trainer import Trainer


class StateRequests:
    """The requests of process 0, and the answers of the others.

    Args:
        process_group: The processes.
    """

    def __init__(self, process_group: ProcessGroup):
        self.process_group = process_group
        self._is_open = True

    def request(self) -> None:
        """Ask the other processes to gather the state together with process 0, which calls this before it does so."""
        if self._is_open and self.process_group.is_main:
            self.process_group.find_maximum([1])

    def serve(self, trainer: Trainer) -> None:
        """Gather the states that process 0 asks for; all processes call it when process 0 needs no further one."""
        if not self._is_open:
            return
        while self.process_group.find_maximum([0]) != [0]:
            trainer.state_dict()

    def close(self) -> None:
        """End the exchange: every process has the whole state from now on."""
        self._is_open = False


class StateRequestCallback(Callback):
    """Lets the processes gather the states that callbacks of process 0 ask for; it comes after these callbacks.

    Args:
        requests: The requests.
    """

    def __init__(self, requests: StateRequests):
        self.requests = requests

    def on_fit_start(self, trainer: Trainer) -> None:
        self.requests.serve(trainer)

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        self.requests.serve(trainer)

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        self.requests.serve(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.requests.serve(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        self.requests.serve(trainer)
