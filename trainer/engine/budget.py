"""Number of steps that fit into a time, from the measured rate of training and validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from trainer.core import rng
from trainer.engine.callbacks import Callback
from trainer.engine.process_group import ProcessGroup
from trainer.engine.signal_callback import SharedStopCallback
from trainer.engine.step_timer import StepTimer, synchronize
from trainer.engine.trainer import Trainer
from trainer.utils.signals import StopFlag
from trainer.utils.text import format_count
from trainer.utils.time_text import format_seconds

PROVISIONAL_STEPS = 1_000_000
"""Length of the schedules while the rate is measured: more steps than are taken."""
MEASURED_FRACTION, MAX_MEASURED_SECONDS = 0.05, 20.0
"""Part of the budget that the timed steps take, and their most seconds."""
MAX_PREVIEWS = 9
"""Most snapshots of samples that a run saves."""
MAX_VALIDATIONS = 3
"""Most validations that are timed."""
MAX_STEPS = 1_000_000_000
LEAST_RATIO = 1.5
"""Ratio of the least budget that is suggested to the time of one step: some part of it is measured."""


@dataclass(frozen=True)
class Rate:
    """Time that the parts of training take.

    Args:
        step: Seconds of a step.
        epoch: Seconds that an epoch takes besides its steps and its validation.
        validation: Seconds of a validation.
        preview: Seconds of a snapshot of samples.
        steps_per_epoch: Number of steps of an epoch.
        val_every: Epochs between validations.
    """

    step: float
    epoch: float
    validation: float
    preview: float
    steps_per_epoch: int
    val_every: int

    def count_epochs(self, steps: int) -> int:
        """Return the number of epochs that a number of steps begins."""
        return -(-steps // self.steps_per_epoch)

    def count_validations(self, steps: int) -> int:
        """Return the number of validations of a run; one for a run without steps."""
        return max(1, -(-self.count_epochs(steps) // self.val_every))

    def count_previews(self, steps: int) -> int:
        """Return the number of snapshots of samples of a run whose task draws some."""
        return min(self.count_validations(steps), MAX_PREVIEWS)

    def estimate_seconds(self, steps: int) -> float:
        """Return the time of training and validation.

        Args:
            steps: Number of steps.
        """
        validations = self.count_validations(steps)
        training = steps * self.step + self.count_epochs(steps) * self.epoch
        return training + validations * self.validation + self.count_previews(steps) * self.preview

    def describe(self, steps: int, name: str, spent: float) -> str:
        """Return a line about the number of steps.

        Args:
            steps: The number of steps.
            name: The budget, as the user has given it.
            spent: Seconds of the budget that loading and measuring have taken.
        """
        return (
            f"{name}: {format_count(steps, 'step')} of {format_seconds(self.step)},"
            f" {format_count(self.count_validations(steps), 'validation')} of {format_seconds(self.validation)};"
            f" {format_seconds(spent)} to load and to measure"
        )

    def choose_steps(self, seconds: float) -> int:
        """Return the largest number of steps that fits into a time; 0 if none does.

        Args:
            seconds: The time.
        """
        low, high = 0, MAX_STEPS
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.estimate_seconds(middle) <= seconds else (low, middle - 1)
        return low


def describe_shortage(rate: Rate, budget: str, spent: float) -> str:
    """Return why a budget is too short for a step and a validation, and which one is not.

    Args:
        rate: Rate of the run.
        budget: The budget, as the user has given it.
        spent: Seconds that loading and measuring take.
    """
    least = math.ceil(LEAST_RATIO * (spent + rate.estimate_seconds(1)))
    return (
        f"budget: {budget} given, but loading and measuring take {format_seconds(spent)}, and a step with its"
        f" validation {format_seconds(rate.estimate_seconds(1))}; at least {least}s"
    )


def measure_rate(
    make_trainer: Callable[[Sequence[Callback]], Trainer], process_group: ProcessGroup, seconds: float
) -> Rate:
    """Measure the rate of a run by its first steps and one validation; the trainer is of no use afterwards.

    Args:
        make_trainer: Makes a trainer with given callbacks.
        process_group: Processes that train together; all end at the same step and get the same rate.
        seconds: The budget, of which a small part is used.

    Raises:
        NonFiniteError: A loss or gradient is not finite.
    """
    timer = StepTimer(min(MAX_MEASURED_SECONDS, MEASURED_FRACTION * seconds))
    trainer = make_trainer([timer] if process_group.size == 1 else [timer, _make_stop_callback(process_group)])
    settings = trainer.settings
    trainer.strategy.start(trainer)
    while not trainer.should_stop:
        timer.start_epoch()
        trainer.train_epoch()
        trainer.epoch, trainer.batch = trainer.epoch + 1, 0
    rate = Rate(
        timer.mean_seconds,
        timer.epoch_seconds,
        _time_validation(trainer, MEASURED_FRACTION * seconds),
        _time_preview(trainer) if settings.draw and trainer.strategy.has_full_model else 0.0,
        steps_per_epoch=-(-len(trainer.train_loader) // settings.accumulate),
        val_every=settings.val_every,
    )
    shared: Rate = process_group.broadcast_object(rate)
    return shared


def _make_stop_callback(process_group: ProcessGroup) -> Callback:
    """Return the callback by which all processes end the measurement when one of them has enough steps."""
    return SharedStopCallback(StopFlag(), process_group)


def _time_validation(trainer: Trainer, max_seconds: float) -> float:
    """Return the least seconds of a few validations: the first one of a process imports packages.

    Args:
        trainer: The trainer.
        max_seconds: Time after which there is no further one.
    """
    times: list[float] = []
    num_repeats = 1
    while len(times) < num_repeats:
        started_at = time.perf_counter()
        trainer.run_validation()
        synchronize(trainer.device)
        times.append(time.perf_counter() - started_at)
        if len(times) == 1:  # as many in each process
            affordable = max(1, min(MAX_VALIDATIONS, int(max_seconds / times[0])))
            num_repeats = trainer.strategy.process_group.broadcast_object(affordable)
    return min(times)


@torch.no_grad()
def _time_preview(trainer: Trainer) -> float:
    started_at = time.perf_counter()
    trainer.task.eval()
    with rng.preserve_generators():
        trainer.task.sample_preview()
    synchronize(trainer.device)
    return time.perf_counter() - started_at
