"""``train find lr``: the learning-rate range test, and the rate at which the loss falls fastest.

References:
    Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.analysis.find_setup import build_for_search
from trainer.config.run_config import Config
from trainer.engine.callbacks import Callback
from trainer.engine.step_metrics import StepMetrics
from trainer.engine.trainer import Trainer
from trainer.optim.lr_schedules import LRSchedule
from trainer.utils.errors import NonFiniteError
from trainer.utils.signals import StopFlag

MIN_LR, MAX_LR, STEPS = 1e-6, 10.0, 200
"""First and last learning rate, and number of steps."""
SMOOTHING = 0.9
"""Decay of the moving average of the loss."""
DIVERGENCE = 3.0
"""Ratio to the lowest smoothed loss, less its fall, at which the test ends."""
WINDOW = 6
"""Steps on each side over which the slope is fitted."""
MIN_FALL = 0.02
"""Least fall of the smoothed loss, relative to its first value, for which a rate is suggested."""


class GeometricRange(LRSchedule):
    """Learning rates from ``MIN_LR`` to ``MAX_LR`` with a constant ratio, each rounded to two digits.

    Args:
        lr: Learning rate of the configuration, which is not used.
        total: Number of updates.
    """

    depends_on_length = True

    def __init__(self, lr: float, total: int):
        super().__init__(lr, total, 0)
        self.num_steps = total

    def compute_lr(self, step: int) -> tuple[float, float | None]:
        fraction = step / max(1, self.num_steps - 1)
        return float(f"{MIN_LR * (MAX_LR / MIN_LR) ** fraction:.1e}"), None


@dataclass
class RangeTest(Callback):
    """Callback that records learning rate and loss of each step, and ends training when the loss diverges.

    Args:
        flag: Flag that records signals.
    """

    flag: StopFlag
    name = "range_test"

    def __post_init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        self.flag.raise_if_stopped()
        self.rates.append(metrics["lr"])
        self.losses.append(metrics["loss"])
        self.smoothed = smooth(self.losses)
        first, best, last = self.smoothed[0], min(self.smoothed), self.smoothed[-1]
        if last > best + (DIVERGENCE - 1) * max(abs(first), first - best):
            trainer.should_stop = True


def smooth(losses: Sequence[float]) -> list[float]:
    """Return the exponential moving average of losses, corrected for its start.

    Args:
        losses: Loss of each step.
    """
    average, smoothed = 0.0, []
    for step, loss in enumerate(losses, 1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smoothed.append(average / (1 - SMOOTHING**step))
    return smoothed


def choose_rate(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """Return the rate at which the smoothed loss falls fastest over the logarithm of the rate; one of ``rates``.

    Args:
        rates: Learning rate of each step.
        smoothed: Smoothed losses.

    Returns:
        The rate; None if the loss does not fall.
    """
    if len(rates) < 2 * WINDOW + 2:
        return None
    lowest = min(range(len(smoothed)), key=lambda step: smoothed[step])
    if smoothed[0] - smoothed[lowest] < MIN_FALL * abs(smoothed[0]):
        return None
    slopes = {
        step: (smoothed[step + WINDOW] - smoothed[step - WINDOW])
        / (math.log(rates[step + WINDOW]) - math.log(rates[step - WINDOW]))
        for step in range(WINDOW, min(lowest + 1, len(rates) - WINDOW))
    }
    return rates[min(slopes, key=lambda step: slopes[step])] if slopes else None


def run_range_test(config: Config, flag: StopFlag, steps: int = STEPS) -> RangeTest:
    """Train for some steps with rising learning rates.

    Args:
        config: Configuration of the command line.
        flag: Flag that records signals.
        steps: Number of steps.

    Raises:
        ConfigError: The task has several losses, such as a GAN.
    """
    schedule = {"_target_": f"{GeometricRange.__module__}.{GeometricRange.__qualname__}"}
    training = build_for_search(config, {"max_steps": steps}, {"scheduler": schedule})
    test = RangeTest(flag)
    trainer = training.make_trainer([test])
    flag.defer_stop()
    trainer.strategy.start(trainer)
    try:
        while not trainer.should_stop and trainer.step < trainer.total_steps:
            trainer.train_epoch()
            trainer.epoch, trainer.batch = trainer.epoch + 1, 0
    except NonFiniteError:
        pass  # the rate of this step is too large: the test is over
    return test
