"""Learning-rate schedules as pure functions of the optimizer step, which need no state to resume.

Every schedule has an optional linear warm-up. Steps are numbered from 0 to ``total - 1``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from trainer.core.metric import Metric
from trainer.core.types import Decay, Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from trainer.metrics.registry import is_better
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_count


class LRSchedule(ABC):
    """Base class of schedules of the learning rate and optionally the momentum.

    Args:
        lr: Learning rate of the optimizer.
        total: Number of updates of the parameter group.
        warmup: Steps of linear warm-up, which precede the schedule and are part of ``total``.

    Raises:
        ConfigError: The warm-up is not shorter than the run.
    """

    depends_on_length: ClassVar[bool] = True
    """Whether the learning rate of a step depends on ``total``."""

    def __init__(self, lr: float, total: int, warmup: int = 0):
        if warmup >= total > 0:
            raise ConfigError(
                f"scheduler.warmup: {format_count(warmup, 'step')} of a run of {total}; it must be shorter than the run"
            )
        self.base_lr = lr
        self.warmup_steps = warmup
        self.total_steps = total - warmup

    def __call__(self, step: int) -> tuple[float, float | None]:
        """Return learning rate and momentum of a step; the momentum is None if the schedule does not set it."""
        if step < self.warmup_steps:
            return self.compute_lr(0)[0] * (step + 1) / (self.warmup_steps + 1), self.compute_lr(0)[1]
        return self.compute_lr(step - self.warmup_steps)

    @abstractmethod
    def compute_lr(self, step: int) -> tuple[float, float | None]:
        """Return learning rate and momentum of a step, counted from the end of the warm-up.

        Args:
            step: Number of the step, from 0.

        Returns:
            Learning rate and momentum; the momentum is None if the schedule does not set it.
        """

    def update_score(self, score: float, metric: Metric) -> None:  # noqa: B027
        """Receive a validation score; by default it is ignored.

        Args:
            score: The score.
            metric: The monitored metric, for its direction.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the state, which is empty for a pure function of the step."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        assert not state, "this schedule has no state"


class Constant(LRSchedule):
    """Constant learning rate.

    Args:
        lr: Learning rate.
        total: Number of updates of the parameter group.
        warmup: Steps of linear warm-up.
    """

    depends_on_length = False

    def __init__(self, lr: float, total: int, warmup: NonNegativeInt = 0):
        super().__init__(lr, total, warmup)

    def compute_lr(self, step: int) -> tuple[float, float | None]:
        return self.base_lr, None


class OneCycle(LRSchedule):
    """One-cycle policy.

    The learning rate rises from ``lr / div_factor`` to ``lr`` and then falls to ``lr / div_factor / final_div_factor``
    on the last step.

    Args:
        lr: Peak learning rate.
        total: Number of updates of the parameter group.
        pct_start: Fraction of the steps in which the learning rate rises.
        div_factor: Peak divided by the initial learning rate.
        final_div_factor: Initial learning rate divided by the final one.
        anneal: ``cos`` or ``linear``.
        cycle_momentum: Whether to cycle the momentum (first beta of Adam) inversely to the learning rate.
        momentum_range: Momentum at the peak and at both ends.
        warmup: Steps of linear warm-up.

    References:
        Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", 2019.
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
    """Cosine annealing to ``min_lr`` on the last step.

    Args:
        lr: Initial learning rate.
        total: Number of updates of the parameter group.
        min_lr: Final learning rate.
        warmup: Steps of linear warm-up.

    References:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.
    """

    def __init__(self, lr: float, total: int, min_lr: NonNegativeFloat = 0.0, warmup: NonNegativeInt = 0):
        super().__init__(lr, total, warmup)
        self.min_lr = min_lr

    def compute_lr(self, step: int) -> tuple[float, float | None]:
        fraction = min(step / max(self.total_steps - 1, 1), 1.0)
        return self.min_lr + (self.base_lr - self.min_lr) * (1 + math.cos(math.pi * fraction)) / 2, None


class Step(LRSchedule):
    """Step decay: the learning rate is multiplied by ``gamma`` at regular intervals.

    Args:
        lr: Initial learning rate.
        total: Number of updates of the parameter group.
        every: Interval between decays, as a fraction of the run.
        gamma: Factor of each decay.
        warmup: Steps of linear warm-up.
    """

    def __init__(
        self, lr: float, total: int, every: Fraction = 0.34, gamma: Fraction = 0.1, warmup: NonNegativeInt = 0
    ):
        super().__init__(lr, total, warmup)
        self.every = every
        self.gamma = gamma

    def compute_lr(self, step: int) -> tuple[float, float | None]:
        return self.base_lr * self.gamma ** int(step / max(self.every * self.total_steps, 1)), None


class Plateau(LRSchedule):
    """Reduction on plateau: the learning rate is multiplied by ``factor`` when the monitored metric stops improving.

    Args:
        lr: Initial learning rate.
        total: Number of updates of the parameter group.
        factor: Factor of each reduction.
        patience: Number of validations without an improvement before a reduction.
        min_lr: Lower bound of the learning rate.
        warmup: Steps of linear warm-up.
    """

    depends_on_length = False

    def __init__(
        self,
        lr: float,
        total: int,
        factor: Fraction = 0.5,
        patience: PositiveInt = 3,
        min_lr: NonNegativeFloat = 0.0,
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
        return {"scale": self.scale, "best": self.best, "num_bad_validations": self.num_bad_validations}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scale, self.best = state["scale"], state["best"]
        self.num_bad_validations = state["num_bad_validations"]
