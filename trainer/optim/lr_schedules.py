"""Learning rates as pure functions of the optimizer step, so that resuming needs no state and an end is exact.

Every schedule takes an optional linear warm-up in front. Steps count from 0 to ``total - 1``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

from trainer.core.types import Decay, Fraction, NonNegativeInt, PositiveFloat, PositiveInt
from trainer.metrics.metrics import better
from trainer.utils.errors import ConfigError
from trainer.utils.text import pluralize


class Schedule(ABC):
    """The learning rate, and where asked for the momentum, of each step.

    lr: the optimizer's rate. total: how many steps this player will take. warmup: steps of linear rise in front; the
    schedule proper takes place in what is left.
    """

    def __init__(self, lr: float, total: int, warmup: int = 0):
        if warmup >= total > 0:
            raise ConfigError(
                f"scheduler.warmup: {pluralize(warmup, 'step')} of a run of {total}: nothing is left after it"
            )
        self.lr = lr
        self.warmup = warmup
        self.total = total - warmup

    def __call__(self, step: int) -> tuple[float, float | None]:
        """(learning rate, momentum or None) of a step."""
        if step < self.warmup:
            return self.at(0)[0] * (step + 1) / (self.warmup + 1), self.at(0)[1]
        return self.at(step - self.warmup)

    @abstractmethod
    def at(self, step: int) -> tuple[float, float | None]:
        """(learning rate, momentum or None) ``step`` steps after the warm-up."""

    def observe(self, score: float, name: str) -> None:  # noqa: B027
        """A validation score; most schedules do not care."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state, "this schedule has no state"


class Constant(Schedule):
    """The optimizer's rate throughout."""

    def __init__(self, lr: float, total: int, warmup: NonNegativeInt):
        super().__init__(lr, total, warmup)

    def at(self, step: int) -> tuple[float, float | None]:
        return self.lr, None


class OneCycle(Schedule):
    """Up to a peak and down to almost nothing in one cycle (Smith and Topin 2019).

    From ``peak / div_factor`` up to the peak over the first ``pct_start`` of the steps, then down to
    ``peak / div_factor / final_div_factor``, reached on the very last step. The optimizer's rate is the peak. With
    ``cycle_momentum`` the momentum (Adam's first beta) mirrors the rate between the two values given.
    """

    def __init__(
        self,
        lr: float,
        total: int,
        pct_start: Fraction,
        div_factor: PositiveFloat,
        final_div_factor: PositiveFloat,
        anneal: Literal["cos", "linear"],
        cycle_momentum: bool,
        momentum_range: tuple[Decay, Decay],
        warmup: NonNegativeInt,
    ):
        super().__init__(lr, total, warmup)
        self.low = lr / div_factor
        self.end = self.low / final_div_factor
        self.peak_step = max(pct_start * self.total - 1, 0.0)
        self.anneal = anneal
        self.momenta = momentum_range if cycle_momentum else None

    def at(self, step: int) -> tuple[float, float | None]:
        last = self.total - 1
        rises = step <= self.peak_step and self.peak_step > 0
        done = step / self.peak_step if rises else (step - self.peak_step) / max(last - self.peak_step, 1e-9)
        rate = self._between(*((self.low, self.lr) if rises else (self.lr, self.end)), done)
        if self.momenta is None:
            return rate, None
        low, high = self.momenta
        return rate, self._between(*((high, low) if rises else (low, high)), done)

    def _between(self, start: float, end: float, done: float) -> float:
        done = min(max(done, 0.0), 1.0)
        if self.anneal == "linear":
            return start + (end - start) * done
        return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


class Cosine(Schedule):
    """Half a cosine from the optimizer's rate down to ``min_lr`` on the last step (Loshchilov and Hutter 2017)."""

    def __init__(self, lr: float, total: int, min_lr: float, warmup: NonNegativeInt):
        super().__init__(lr, total, warmup)
        self.min_lr = min_lr

    def at(self, step: int) -> tuple[float, float | None]:
        done = min(step / max(self.total - 1, 1), 1.0)
        return self.min_lr + (self.lr - self.min_lr) * (1 + math.cos(math.pi * done)) / 2, None


class Step(Schedule):
    """The rate times ``gamma`` after every ``every`` share of the run."""

    def __init__(self, lr: float, total: int, every: Fraction, gamma: Fraction, warmup: NonNegativeInt):
        super().__init__(lr, total, warmup)
        self.every = every
        self.gamma = gamma

    def at(self, step: int) -> tuple[float, float | None]:
        return self.lr * self.gamma ** int(step / max(self.every * self.total, 1)), None


class Plateau(Schedule):
    """The rate times ``factor`` whenever ``patience`` validations brought nothing better."""

    def __init__(
        self, lr: float, total: int, factor: Fraction, patience: PositiveInt, min_lr: float, warmup: NonNegativeInt
    ):
        super().__init__(lr, total, warmup)
        self.factor = factor
        self.patience = patience
        self.min_lr = min_lr
        self.scale = 1.0
        self.best: float | None = None
        self.waited = 0

    def at(self, step: int) -> tuple[float, float | None]:
        return max(self.lr * self.scale, self.min_lr), None

    def observe(self, score: float, name: str) -> None:
        if better(score, self.best, name):
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.scale *= self.factor
            self.waited = 0

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scale, self.best, self.waited = state["scale"], state["best"], state["waited"]
