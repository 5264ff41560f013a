"""Learning rates as pure functions of the optimizer step, so that resuming needs no state and an end is exact.

Every schedule takes an optional linear warm-up in front. Steps count from 0 to ``total - 1``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

from trainer.core.metric import Metric
from trainer.core.types import Decay, Fraction, NonNegativeInt, PositiveFloat, PositiveInt
from trainer.metrics.registry import is_better
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_count


class LRSchedule(ABC):
    """The learning rate, and where asked for the momentum, of each step.

    lr: the optimizer's rate. total: how many steps this player will take. warmup: steps of linear rise in front; the
    schedule proper takes place in what is left.
    """

    def __init__(self, lr: float, total: int, warmup: int = 0):
        if warmup >= total > 0:
            raise ConfigError(
                f"scheduler.warmup: {format_count(warmup, 'step')} of a run of {total}: nothing is left after it"
            )
        self.base_lr = lr
        self.warmup_steps = warmup
        self.total_steps = total - warmup

    def __call__(self, step: int) -> tuple[float, float | None]:
        """(learning rate, momentum or None) of a step."""
        if step < self.warmup_steps:
            return self.compute_lr(0)[0] * (step + 1) / (self.warmup_steps + 1), self.compute_lr(0)[1]
        return self.compute_lr(step - self.warmup_steps)

    @abstractmethod
    def compute_lr(self, step: int) -> tuple[float, float | None]:
        """(learning rate, momentum or None) ``step`` steps after the warm-up."""

    def update_score(self, score: float, metric: Metric) -> None:  # noqa: B027
        """A validation score; most schedules do not care."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state, "this schedule has no state"


class Constant(LRSchedule):
    """The optimizer's rate throughout."""

    def __init__(self, lr: float, total: int, warmup: NonNegativeInt = 0):
        super().__init__(lr, total, warmup)

    def compute_lr(self, step: int) -> tuple[float, float | None]:
        return self.base_lr, None


class OneCycle(LRSchedule):
    """Up to a peak and down to almost nothing in one cycle (Smith and Topin 2019).

    From ``peak / div_factor`` up to the peak over the first ``pct_start`` of the steps, then down to
    ``peak / div_factor / final_div_factor``, reached on the very last step. The optimizer's rate is the peak. With
    ``cycle_momentum`` the momentum (Adam's first beta) mirrors the rate between the two values given.
    """

    def __init__(
        self,
        lr: float,
        total: int,
        pct_start: Fraction = 0.3,
        div_factor: PositiveFloat = 25.0,
        final_div_factor: PositiveFloat = 10000.0,
        anneal: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = False,
        momentum_range: tuple[Decay, Decay] = (0.85, 0.95),
        warmup: NonNegativeInt = 0,
    ):
        super().__init__(lr, total, warmup)
        self.initial_lr = lr / div_factor
        self.final_lr = self.initial_lr / final_div_factor
        self.peak_step = max(pct_start * self.total_steps - 1, 0.0)
        self.anneal = anneal
        self.momentum_range = momentum_range if cycle_momentum else None

    def compute_lr(self, step: int) -> tuple[float, float | None]:
        last_step = self.total_steps - 1
        is_rising = step <= self.peak_step and self.peak_step > 0
        fraction = (
            step / self.peak_step if is_rising else (step - self.peak_step) / max(last_step - self.peak_step, 1e-9)
        )
        lr = self._interpolate(
            *((self.initial_lr, self.base_lr) if is_rising else (self.base_lr, self.final_lr)), fraction
        )
        if self.momentum_range is None:
            return lr, None
        min_momentum, max_momentum = self.momentum_range
        return lr, self._interpolate(
            *((max_momentum, min_momentum) if is_rising else (min_momentum, max_momentum)), fraction
        )

    def _interpolate(self, start: float, end: float, fraction: float) -> float:
        fraction = min(max(fraction, 0.0), 1.0)
        if self.anneal == "linear":
            return start + (end - start) * fraction
        return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))


class Cosine(LRSchedule):
    """Half a cosine from the optimizer's rate down to ``min_lr`` on the last step (Loshchilov and Hutter 2017)."""

    def __init__(self, lr: float, total: int, min_lr: float = 0.0, warmup: NonNegativeInt = 0):
        super().__init__(lr, total, warmup)
        self.min_lr = min_lr

    def compute_lr(self, step: int) -> tuple[float, float | None]:
        fraction = min(step / max(self.total_steps - 1, 1), 1.0)
        return self.min_lr + (self.base_lr - self.min_lr) * (1 + math.cos(math.pi * fraction)) / 2, None


class Step(LRSchedule):
    """The rate times ``gamma`` after every ``every`` share of the run."""

    def __init__(
        self, lr: float, total: int, every: Fraction = 0.34, gamma: Fraction = 0.1, warmup: NonNegativeInt = 0
    ):
        super().__init__(lr, total, warmup)
        self.every = every
        self.gamma = gamma

    def compute_lr(self, step: int) -> tuple[float, float | None]:
        return self.base_lr * self.gamma ** int(step / max(self.every * self.total_steps, 1)), None


class Plateau(LRSchedule):
    """The rate times ``factor`` whenever ``patience`` validations brought nothing better."""

    def __init__(
        self,
        lr: float,
        total: int,
        factor: Fraction = 0.5,
        patience: PositiveInt = 3,
        min_lr: float = 0.0,
        warmup: NonNegativeInt = 0,
    ):
        super().__init__(lr, total, warmup)
        self.factor = factor
        self.patience = patience
        self.min_lr = min_lr
        self.scale = 1.0
        self.best: float | None = None
        self.num_bad_validations = 0

    def compute_lr(self, step: int) -> tuple[float, float | None]:
        return max(self.base_lr * self.scale, self.min_lr), None

    def update_score(self, score: float, metric: Metric) -> None:
        if is_better(score, self.best, metric):
            self.best, self.num_bad_validations = score, 0
            return
        self.num_bad_validations += 1
        if self.num_bad_validations >= self.patience:
            self.scale *= self.factor
            self.num_bad_validations = 0

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale, "best": self.best, "waited": self.num_bad_validations}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scale, self.best, self.num_bad_validations = state["scale"], state["best"], state["waited"]
