"""Who learns: a set of parameters with its optimizer, its schedule and its average."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainer.optim.flat_params import FlatParameters
from trainer.optim.lr_schedules import Schedule
from trainer.optim.optimizers import Optimizer


class Player:
    """One optimizer and what it moves.

    ``steps`` counts this player's own updates, so a schedule ends with the player's last turn however the turns of a
    game are shared out. ``ema`` is how much the average keeps of its past; None keeps no average.
    """

    def __init__(
        self,
        name: str,
        params: FlatParameters,
        optimizer: Optimizer,
        schedule: Schedule,
        ema: float | None,
        alone: bool,
    ):
        self.name = name
        self.params = params
        self.optimizer = optimizer
        self.schedule = schedule
        self.ema = ema
        # In a game, backward stops at this player's own parameters: the others' gradients are not even computed.
        self.inputs = None if alone else params.parameters
        self.steps = 0
        self.rate = schedule(0)[0]
        self.average = None if ema is None else params.data.clone()

    def step(self, scaler: torch.amp.GradScaler, found_inf: Tensor | None) -> None:
        """Updates the parameters and their average from the gradient in place."""
        self.rate, momentum = self.schedule(self.steps)
        scaler.step(self.optimizer, self.rate, momentum, found_inf)  # type: ignore[arg-type]
        scaler.update()
        self.steps += 1
        if self.average is not None and self.ema is not None:
            # A short memory at first, or the average would be of the random start for a long while.
            self.average.lerp_(self.params.data, 1 - min(self.ema, (1 + self.steps) / (10 + self.steps)))

    def swap(self) -> None:
        """Exchanges the weights with their average."""
        if self.average is not None:
            kept = self.params.data.clone()
            self.params.data.copy_(self.average)
            self.average.copy_(kept)

    def forget_average(self) -> None:
        self.average = None

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "steps": self.steps,
            "rate": self.rate,
            "average": self.average,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.steps, self.rate = state["steps"], state["rate"]
        assert (self.average is None) == (state["average"] is None), "average switched on or off across a resume"
        if self.average is not None:
            self.average.copy_(state["average"])
