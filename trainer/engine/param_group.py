"""Parameter groups: parameters with their optimizer, learning-rate schedule and EMA."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from trainer.config.schema import Settings
from trainer.engine.ema import EMA
from trainer.engine.parameter_average import ParameterAverage
from trainer.engine.schedule_free import ScheduleFreeAverage
from trainer.engine.update_ratio import compute_update_ratio
from trainer.optim.flat_params import FlatParameters
from trainer.optim.lr_schedules import LRSchedule
from trainer.optim.optimizers import Optimizer
from trainer.optim.stable_schedules import ScheduleFree
from trainer.utils.errors import ConfigError


class ParamGroup:
    """Parameters with their optimizer, schedule and exponential moving average.

    ``num_updates`` counts the updates of this group. The schedule depends on it, so that it ends with the last update
    of the group however steps are distributed among groups. It includes skipped updates, which the host does not know
    of; ``optimizer.steps`` does not.

    Args:
        name: Name of the group in the task and in checkpoints.
        params: Parameters of the group.
        optimizer: Optimizer of ``params``.
        schedule: Learning-rate schedule, called with ``num_updates``.
        ema: Decay of the exponential moving average of the parameters; None for no average.
        is_only_group: Whether the task has no other group.
    """

    def __init__(
        self,
        name: str,
        params: FlatParameters,
        optimizer: Optimizer,
        schedule: LRSchedule,
        ema: float | None,
        is_only_group: bool,
    ):
        self.name = name
        self.params = params
        self.optimizer = optimizer
        self.schedule = schedule
        # With several groups, as in a GAN, gradients of the parameters of other groups are not computed.
        self.backward_inputs = None if is_only_group else params.parameters
        self.num_updates = 0
        self.lr = schedule(0)[0]
        self.ema = make_average(params, schedule, ema)
        self.update_ratio: Tensor | float | None = None
        """That of the last update that was measured, until a validation records it."""
        self.before_change: Callable[[], object] | None = None
        """Called before optimizer and EMA change: a checkpoint may be copying their state in another thread."""

    def clip_gradient(self, norm: Tensor, settings: Settings) -> None:
        """Clip the gradient; after the NaN guard, because clipping would spread a NaN.

        Args:
            norm: Norm of the gradient, a scalar.
            settings: Global keys of the configuration: ``grad_clip`` and ``grad_clip_mode``.
        """
        grad, limit = self.params.grad, settings.grad_clip
        if limit is not None and settings.grad_clip_mode == "value":
            grad.clamp_(-limit, limit)
        elif limit is not None:
            grad.mul_((limit / (norm + 1e-6)).clamp_(max=1.0))

    def step(self, scaler: torch.amp.GradScaler, found_inf: Tensor | None, is_measured: bool = False) -> None:
        """Update the parameters from the gradient, and the EMA from the parameters.

        Args:
            scaler: Gradient scaler that takes the step.
            found_inf: Scalar on the device, 1 to skip the update; None to always update.
            is_measured: Whether to measure the update ratio, which takes a copy of the parameters.
        """
        if self.before_change is not None:
            self.before_change()
        before = self.params.data.clone() if is_measured else None
        self.lr, momentum = self.schedule(self.num_updates)
        # The gradient scaler may skip the update, too.
        is_skipped: Any = scaler.step(self.optimizer, self.lr, momentum, found_inf)  # type: ignore[arg-type]
        scaler.update()
        self.params.write_back()
        self.num_updates += 1
        if before is not None:
            self.update_ratio = compute_update_ratio(self.params, before)
        if self.ema is not None:
            self.ema.update(self.num_updates, self.lr, is_skipped)

    def swap_ema(self) -> None:
        """Exchange the parameters with their EMA."""
        if self.ema is not None:
            if self.before_change is not None:
                self.before_change()
            self.ema.swap()

    def drop_ema(self) -> None:
        """Remove the EMA."""
        self.ema = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state of optimizer, schedule and EMA."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "steps": self.num_updates,
            "lr": self.lr,
            "update_ratio": None if self.update_ratio is None else float(self.update_ratio),
            "ema": None if self.ema is None else self.ema.state_dict(),
        }

    def example_state_dict(self, *, has_stepped: bool) -> dict[str, Any]:
        """Return a state with the keys, shapes and types of the state before or after the first step."""
        optimizer = self.optimizer.example_state_dict(has_stepped=has_stepped)
        return self.state_dict() | {"optimizer": optimizer}

    def split_flat_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Convert a state of checkpoint version 1 or 2, with averages as flat vectors, to tensors by parameter name."""

        def name(value: Any) -> Any:
            is_vector = isinstance(value, Tensor) and value.shape == self.params.data.shape
            return self.params.split_by_name(value.contiguous()) if is_vector else value

        state_by_name = {key: name(value) if key == "ema" else value for key, value in state.items()}
        optimizer = state.get("optimizer")
        if isinstance(optimizer, Mapping) and isinstance(optimizer.get("averages"), Mapping):
            averages = {key: name(value) for key, value in optimizer["averages"].items()}
            state_by_name["optimizer"] = {**optimizer, "averages": averages}
        return state_by_name

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state.

        Raises:
            ConfigError: Only one of the run and its state has an EMA.
        """
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.num_updates, self.lr = state["steps"], state["lr"]
        self.update_ratio = state.get("update_ratio")  # older versions did not measure it
        if (self.ema is None) != (state["ema"] is None):
            keys = "ema, scheduler=schedule_free"
            raise ConfigError(f"{keys}: an average cannot be switched on or off when a run is resumed")
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])


def get_averaged_weights(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the weights by parameter name that a saved average evaluates.

    Args:
        state: State of ``ParamGroup.ema`` in a checkpoint.
    """
    average = state.get("average")
    return average if isinstance(average, Mapping) else state


def make_average(params: FlatParameters, schedule: LRSchedule, ema: float | None) -> ParameterAverage | None:
    """Return the average of the parameters that is evaluated in their place; None without one.

    Args:
        params: Parameters of a group.
        schedule: Its schedule, which may have an average of its own.
        ema: Decay of the exponential moving average; None for none.

    Raises:
        ConfigError: There would be two averages.
    """
    if isinstance(schedule, ScheduleFree):
        if ema is not None:
            raise ConfigError(f"ema: {ema} given; scheduler=schedule_free averages the weights itself: set ema=null")
        return ScheduleFreeAverage(params, schedule.average_beta)
    return None if ema is None else EMA(params, ema)
