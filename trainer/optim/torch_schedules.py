"""Adapter for the schedulers of ``torch.optim.lr_scheduler`` and of plugins, stepped once per optimizer step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from trainer.core.metric import Metric
from trainer.optim.lr_schedules import LRSchedule

LAST_STEP_KEYS = ("T_max", "total_iters")
"""Options for the number of steps after which a schedule ends; null means the last step of the run."""
TOTAL_KEY = "total_steps"
"""Option of OneCycleLR for its number of steps; null means those of the run."""


def depends_on_length(scheduler_class: type[Any], options: Mapping[str, Any]) -> bool:
    """Return whether a scheduler of torch is given the number of steps of the run.

    Args:
        scheduler_class: Class of the scheduler.
        options: Its keyword arguments.
    """
    parameters = inspect.signature(scheduler_class).parameters
    keys = [key for key in (*LAST_STEP_KEYS, TOTAL_KEY) if key in parameters]
    return any(options.get(key, parameters[key].default) is None for key in keys)


class TorchSchedule(LRSchedule):
    """Runs a scheduler of torch on a dummy optimizer, from which learning rate and momentum are read.

    A scheduler of torch only steps forward: for a step before the last requested one, it is created again and repeats
    its steps.

    Args:
        scheduler_class: Class of the scheduler.
        options: Its keyword arguments.
        lr: Learning rate of the parameter group.
        total: Number of updates of the parameter group.
        warmup: Steps of linear warm-up.
        configured_lr: Learning rate in the configuration, to which options such as ``eta_min`` refer; the schedule is
            scaled for a parameter group with another learning rate.

    Raises:
        ValueError: The class does not accept these options.
    """

    def __init__(
        self,
        scheduler_class: type[torch.optim.lr_scheduler.LRScheduler],
        options: Mapping[str, Any],
        lr: float,
        total: int,
        warmup: int,
        configured_lr: float,
    ):
        super().__init__(lr, total, warmup)
        self.scheduler_class = scheduler_class
        self.options = dict(options)
        parameters = inspect.signature(scheduler_class).parameters
        for key in LAST_STEP_KEYS:
            if key in parameters and self.options.get(key, 0) is None:
                self.options[key] = max(self.total_steps - 1, 1)
        if TOTAL_KEY in parameters:
            self._set_total()
        self.lr_factor = lr / configured_lr
        self.configured_lr = configured_lr
        self.position = 0
        self.last_step = 0
        self.follows_score = issubclass(scheduler_class, torch.optim.lr_scheduler.ReduceLROnPlateau)
        self._make(is_max=False)

    def _set_total(self) -> None:
        """Set the number of steps of the scheduler.

        Raises:
            ValueError: It is below that of the run, so that torch would raise at the end.
        """
        epochs, per_epoch = self.options.get("epochs"), self.options.get("steps_per_epoch")
        num_steps = self.options.get(TOTAL_KEY) or (epochs * per_epoch if epochs and per_epoch else None)
        if num_steps is not None and num_steps < self.total_steps:
            raise ValueError(f"{TOTAL_KEY}: {num_steps} given, and the run has {self.total_steps}; null takes those")
        self.options[TOTAL_KEY] = num_steps or max(self.total_steps, 1)

    def _make(self, is_max: bool) -> None:
        """Create the scheduler, at its first step."""
        parameter = nn.Parameter(torch.zeros(1))
        self.optimizer = torch.optim.SGD([parameter], lr=self.configured_lr, momentum=0.9)
        options = self.options | ({"mode": "max" if is_max else "min"} if self.follows_score else {})
        self.scheduler = self.scheduler_class(self.optimizer, **options)
        self.is_max = is_max
        # torch warns if a scheduler steps before its optimizer.
        self.optimizer.step()
        (self.group,) = self.optimizer.param_groups

    @property
    def sets_momentum(self) -> bool:
        """Return whether the scheduler cycles the momentum."""
        return bool(self.options.get("cycle_momentum", getattr(self.scheduler, "cycle_momentum", False)))

    def compute_lr(self, step: int) -> tuple[float, float | None]:
        """Return learning rate and momentum of a step, counted from the end of the warm-up.

        Raises:
            ValueError: The schedule follows the score, and the step is before the last requested one.
        """
        if step < self.last_step and self.follows_score:
            raise ValueError(
                f"step: {step} given after {self.last_step}; a schedule that follows the score cannot go back"
            )
        if step < self.position:
            self._make(self.is_max)
            self.position = 0
        self.last_step = step
        while self.position < step and not self.follows_score:
            self.scheduler.step()
            self.position += 1
        lr = float(self.group["lr"]) * self.lr_factor
        return lr, float(self.group["momentum"]) if self.sets_momentum else None

    def update_score(self, score: float, metric: Metric) -> None:
        if not self.follows_score:
            return
        if metric.higher_is_better != self.is_max:
            self._make(metric.higher_is_better)
        self.scheduler.step(score)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """Return position, learning rate and momentum, and of a class of torch its numbers; infinite ones as None."""
        numbers = {
            key: value if math.isfinite(value) else None
            for key, value in sorted(vars(self.scheduler).items())
            if isinstance(value, int | float) and not isinstance(value, bool) and key != "mode_worse"
        }
        numbers = numbers if self._is_of_torch() else {}
        values = {"lr": float(self.group["lr"]), "momentum": float(self.group["momentum"])}
        return {"position": self.position, "is_max": int(self.is_max), **values, **numbers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._make(bool(state["is_max"]))
        self.position = self.last_step = 0
        if not self._is_of_torch():
            # The state of a scheduler of a plugin is unknown, so its steps are repeated.
            self.compute_lr(state["position"])
            return
        self.position = state["position"]
        self.group["lr"], self.group["momentum"] = state["lr"], state["momentum"]
        for key, value in state.items():
            if value is not None and key in vars(self.scheduler):
                setattr(self.scheduler, key, value)

    def _is_of_torch(self) -> bool:
        return self.scheduler_class.__module__.startswith("torch.optim")
