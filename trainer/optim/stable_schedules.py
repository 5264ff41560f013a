"""Schedules with a constant learning rate for most or all of the run, so that a run can be judged before its end."""

from __future__ import annotations

import math
from typing import Literal

from trainer.core.types import Decay, Fraction, NonNegativeFloat, NonNegativeInt
from trainer.optim.lr_schedules import LRSchedule
from trainer.utils.choices import get_choice

_SHAPES = {
    "linear": lambda fraction: 1 - fraction,
    "cosine": lambda fraction: (1 + math.cos(math.pi * fraction)) / 2,
    "sqrt": lambda fraction: 1 - math.sqrt(fraction),
}
"""Share of the learning rate that is left after a fraction of the decay."""


class WSD(LRSchedule):
    """Warm-up, stable, decay: a constant learning rate that falls to ``min_lr`` at the end of the run.

    The last update is the last one above ``min_lr``.

    Args:
        lr: Learning rate of the stable phase.
        total: Number of updates of the parameter group.
        decay: Fraction of the updates after the warm-up in which the learning rate falls.
        shape: How it falls: ``linear``, ``cosine`` or ``sqrt`` (one minus the square root of the fraction).
        min_lr: Learning rate that the decay leads to.
        warmup: Steps of linear warm-up.

    References:
        Hu et al., "MiniCPM: Unveiling the Potential of Small Language Models", 2024.
        Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", 2024 (``sqrt``).
    """

    def __init__(
        self,
        lr: float,
        total: int,
        decay: Fraction = 0.2,
        shape: Literal["linear", "cosine", "sqrt"] = "linear",
        min_lr: NonNegativeFloat = 0.0,
        warmup: NonNegativeInt = 0,
    ):
        super().__init__(lr, total, warmup)
        self.decay_steps = max(1, round(decay * self.total_steps))
        self.min_lr = min_lr
        self._compute_share = get_choice("shape", shape, _SHAPES)

    def compute_lr(self, step: int) -> tuple[float, float | None]:
        stable_steps = self.total_steps - self.decay_steps
        if step < stable_steps:
            return self.base_lr, None
        share = self._compute_share(min((step - stable_steps) / self.decay_steps, 1.0))
        return self.min_lr + (self.base_lr - self.min_lr) * share, None


class ScheduleFree(LRSchedule):
    """Schedule-free learning: a constant learning rate, and an average of the weights in place of its decay.

    Gradients are computed between the weights of the optimizer and their average, which validation and test use (see
    ``trainer.engine.schedule_free``). The momentum of the optimizer is 0, because ``beta`` takes its place.

    Args:
        lr: Learning rate, often one to ten times that of a schedule which decays.
        total: Number of updates of the parameter group.
        beta: Weight of the average at the point where gradients are computed.
        warmup: Steps of linear warm-up.

    References:
        Defazio et al., "The Road Less Scheduled", NeurIPS 2024.
    """

    depends_on_length = False

    def __init__(self, lr: float, total: int, beta: Decay = 0.9, warmup: NonNegativeInt = 0):
        super().__init__(lr, total, warmup)
        self.average_beta = beta

    def compute_lr(self, step: int) -> tuple[float, float | None]:
        return self.base_lr, 0.0
