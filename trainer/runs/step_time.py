"""Seconds of training steps of models that differ in their widths, which take their steps in turn.

Taken in turn, all are slowed down alike by whatever else the machine does.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import count, islice
from typing import Any

from trainer.config.run_config import Config
from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.engine.process_group import SingleProcess
from trainer.engine.step_timer import synchronize
from trainer.engine.trainer import Trainer
from trainer.runs.training_setup import build_objects, refuse_nested_run
from trainer.utils.errors import ConfigError, NonFiniteError
from trainer.utils.thread_clock import read_clock

WARMUP_STEPS = 2
"""Steps that are not timed: they allocate memory and choose kernels."""
MIN_STEPS, MAX_STEPS = 5, 200
"""Bounds of the number of timed steps of a model."""
SECONDS = 0.3
"""Seconds for the timed steps of a model, within these bounds."""

Widths = Mapping[str, Any]
"""Values of keys of the model."""


def iter_step_seconds(trainer: Trainer, clock: Callable[[], float] = read_clock) -> Generator[float, None, None]:
    """Take a training step for each value, and yield its seconds: loading, all updates, and the wait for the device.

    The start of an epoch is not part of a step. The schedule does not advance.

    Args:
        trainer: The trainer, newly built.
        clock: Function that returns the time in seconds.
    """
    trainer.task.train()
    for epoch in count():
        with closing(trainer.strategy.iter_epoch(trainer.train_loader, epoch, 0)) as batches:
            while True:
                started_at = clock()
                microbatches = list(islice(batches, trainer.settings.accumulate))
                if not microbatches:
                    break
                for name in trainer.task.active_groups(trainer.step):
                    trainer.param_groups[name].num_updates = 0
                    trainer.update_param_group(trainer.param_groups[name], microbatches)
                trainer.step = (trainer.step + 1) % max(1, trainer.total_steps)
                synchronize(trainer.device)
                yield clock() - started_at


def time_in_turn(
    runs: Sequence[Generator[float, None, None]], summarize: Callable[[list[float]], float]
) -> list[float]:
    """Return the seconds of a step of each run.

    Args:
        runs: Seconds of the steps of each run, which are taken when they are asked for.
        summarize: Function from the seconds of the steps of a run to those of a typical one.
    """
    for _ in range(WARMUP_STEPS):
        for run in runs:
            next(run)
    times: list[list[float]] = [[] for _ in runs]
    while len(times[0]) < MIN_STEPS or (len(times[0]) < MAX_STEPS and max(map(sum, times)) < SECONDS):
        for run, seconds in zip(runs, times, strict=True):
            seconds.append(next(run))
    return [summarize(seconds) for seconds in times]


class StepTime:
    """Seconds of the training step of a model with given widths.

    Args:
        config: Configuration of the run.
        data: Its data set.
    """

    def __init__(self, config: Config, data: Dataset):
        self._config = config
        self._data = data

    def measure(self, widths: Widths) -> float:
        """Return the seconds of a step of one model.

        Args:
            widths: Values of keys of the model.

        Raises:
            ValueError: The model rejects them.
        """
        return self.measure_together([widths])[0]

    def measure_together(self, candidates: Sequence[Widths]) -> list[float]:
        """Return the seconds of a step of several models, which take their steps in turn.

        Args:
            candidates: Values of keys of the model, for each model.

        Raises:
            ValueError: The model rejects one of them, or its loss is not finite.
        """
        try:
            with rng.preserve_generators(), ExitStack() as stack:
                trainers = [self._make_trainer(widths) for widths in candidates]
                runs = [stack.enter_context(closing(iter_step_seconds(trainer))) for trainer in trainers]
                # Steps of several groups differ, such as those of a GAN: only their mean is the time of the run.
                is_uniform = all(len(trainer.param_groups) == 1 for trainer in trainers)
                return time_in_turn(runs, statistics.median if is_uniform else statistics.fmean)
        except (ConfigError, NonFiniteError) as error:
            raise ValueError(str(error)) from error

    def _make_trainer(self, widths: Widths) -> Trainer:
        changes = {"model": {**self._config.tree["model"], **widths}, "init_from": None, "num_workers": 0}
        settings = replace(self._config.settings, init_from=None, num_workers=0)
        config = replace(self._config, tree={**self._config.tree, **changes}, settings=settings)
        objects = build_objects(config, None, SingleProcess(), refuse_nested_run, lambda _: None, self._data)
        return objects.make_trainer([])
