"""Callback that times the first steps of a run, and ends training when they are enough to know its rate."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from statistics import fmean, median
from typing import TYPE_CHECKING

import torch

from trainer.engine.callbacks import Callback

if TYPE_CHECKING:
    from trainer.engine.step_metrics import StepMetrics
    from trainer.engine.trainer import Trainer


MAX_COUNTED_STEPS = 1000
"""Steps of a run in which those that update the same parameter groups are counted: they follow a short cycle."""


def synchronize(device: torch.device) -> None:
    """Wait until an accelerator has computed everything that was launched; a CPU has.

    Args:
        device: The device.
    """
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class StepTimer(Callback):
    """Callback that times steps after some to warm up, and then sets ``should_stop``.

    The first step of an epoch is timed apart: before it, workers may start and rows may be gathered. So are steps that
    update different parameter groups, as in a GAN: few timed steps have them in other proportions than the run.

    Args:
        seconds: Time to measure, after the warm-up.
        warmup_steps: Number of steps that are not timed: they allocate memory and choose kernels.
        min_steps: Least number of steps to time, however long they take.
        max_steps: Largest number of steps to time.
        clock: Function that returns the time in seconds.

    Attributes:
        step_seconds: Seconds of each timed step that is not the first one of its epoch.
        first_step_seconds: Seconds from the start of an epoch to the end of its first step, for each timed one.
        seconds_by_groups: Seconds of the timed steps that are not the first one of their epoch, by the parameter groups
            that they update.
        group_counts: Number of steps that update the same parameter groups, in the beginning of the run.
    """

    name = "step_timer"

    def __init__(
        self,
        seconds: float,
        warmup_steps: int = 3,
        min_steps: int = 5,
        max_steps: int = 1000,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.clock = clock
        self.seconds = seconds
        self.warmup_steps = warmup_steps
        self.min_steps = min_steps
        self.max_steps = max_steps
        self.step_seconds: list[float] = []
        self.first_step_seconds: list[float] = []
        self.seconds_by_groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
        self.group_counts: Counter[tuple[str, ...]] = Counter()
        self.num_warm = 0
        self._last_time = self._timed_since = self.clock()
        self._is_first = True

    def start_epoch(self) -> None:
        """Note that the next step is the first one of an epoch, which starts now."""
        self._last_time, self._is_first = self.clock(), True

    def on_fit_start(self, trainer: Trainer) -> None:
        self.start_epoch()

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.start_epoch()

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        synchronize(trainer.device)
        now = self.clock()
        if self.num_warm < self.warmup_steps:
            self.num_warm += 1
            self._timed_since = now
        else:
            self._record_step(trainer, now - self._last_time)
            if self.has_enough(now - self._timed_since):
                trainer.should_stop = True
        self._last_time, self._is_first = now, False

    def _record_step(self, trainer: Trainer, seconds: float) -> None:
        """Record the time of the last step of a trainer."""
        if self._is_first:
            self.first_step_seconds.append(seconds)
            return
        self.step_seconds.append(seconds)
        active_groups = trainer.task.active_groups
        self.seconds_by_groups[active_groups(trainer.step - 1)].append(seconds)
        if not self.group_counts:
            num_steps = min(trainer.total_steps, MAX_COUNTED_STEPS)
            self.group_counts.update(active_groups(step) for step in range(num_steps))

    def has_enough(self, seconds: float) -> bool:
        """Return whether enough steps have been timed.

        Args:
            seconds: Time since the first of them.
        """
        count = len(self.step_seconds) + len(self.first_step_seconds)
        return count >= self.max_steps or (count >= self.min_steps and seconds >= self.seconds)

    @property
    def mean_seconds(self) -> float:
        """Mean seconds of a step that is not the first one of its epoch, for the time of many."""
        if not self.step_seconds:
            return sum(self.first_step_seconds) / max(1, len(self.first_step_seconds))
        # Steps of a later part of the run, whose groups the first steps do not update, have the least weight.
        weights = [max(1, self.group_counts[groups]) for groups in self.seconds_by_groups]
        return fmean(map(fmean, self.seconds_by_groups.values()), weights)

    @property
    def epoch_seconds(self) -> float:
        """Median seconds that the start of an epoch adds to its first step; 0 if no such step was timed."""
        if not self.first_step_seconds or not self.step_seconds:
            return 0.0
        return max(0.0, median(self.first_step_seconds) - self.mean_seconds)
