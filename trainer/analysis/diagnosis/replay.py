"""Repetition of the steps before a loss or gradient that was not finite, which has the same bits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch

from trainer.analysis.diagnosis.activations import LayerActivations
from trainer.core.batch import Batch
from trainer.engine.callbacks import Callback, CallbackList
from trainer.engine.step_metrics import StepMetrics
from trainer.engine.trainer import Trainer
from trainer.utils.errors import NonFiniteError

if TYPE_CHECKING:
    # It imports all strategies of training, which rules on recorded values do not need.
    from trainer.analysis.diagnosis.live_run import LiveRun

MAX_SECONDS = 120.0
"""Seconds after which the repetition is given up."""
MAX_BATCHES = 200
"""Number of batches in which rows are looked for that skipped updates."""


@dataclass(frozen=True)
class Failure:
    """A step whose loss or gradient is not finite.

    Args:
        step: Number of the step, from 1; None for a batch of the first epoch with the last weights.
        rows: Rows of its batch that alone give a loss that is not finite.
        batch_size: Number of rows of the batch.
        layer: First result that is not finite for the first of these rows; None if all layers are finite.
        has_nonfinite_inputs: Whether inputs or targets of these rows are not finite.
        largest_input: Largest absolute value of the inputs of these rows.
        growth_by_name: Norm of each parameter, divided by that of its initial value.
    """

    step: int | None
    rows: Sequence[int]
    batch_size: int
    layer: LayerActivations | None
    has_nonfinite_inputs: bool
    largest_input: float
    growth_by_name: Mapping[str, float]

    @property
    def growth(self) -> float:
        """Largest growth of a parameter."""
        return max(self.growth_by_name.values(), default=1.0)


@dataclass(frozen=True)
class Replay:
    """A search for the failure of a run.

    Args:
        failure: The failure; None if it was not found.
        problem: Why it was not found; empty if it was.
    """

    failure: Failure | None
    problem: str = ""


class _Deadline(Callback):
    """Ends a repetition that takes too long."""

    def __init__(self) -> None:
        self.end = time.monotonic() + MAX_SECONDS

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        trainer.should_stop = time.monotonic() > self.end


@cache
def replay_failure(live: LiveRun) -> Replay:
    """Train from the last checkpoint to the step that is not finite.

    Args:
        live: The run, whose trainer is left at this step.
    """
    trainer = live.trainer
    start = trainer.step
    trainer.callbacks = CallbackList([_Deadline()])
    try:
        trainer.fit()
    except NonFiniteError:
        return Replay(_describe_step(live))
    steps = f"all values of steps {start + 1:,} to {trainer.step:,}, which were trained again, are finite"
    if trainer.step <= start:
        return Replay(None, f"no step follows the last checkpoint, which is of step {start:,}")
    if trainer.should_stop:
        return Replay(None, f"{steps}; the repetition was given up after {MAX_SECONDS:g} s")
    return Replay(None, f"{steps}: the machine, the number of threads or the code may be another one")


def _describe_step(live: LiveRun) -> Failure:
    """Describe the step at which the trainer of a run has stopped."""
    trainer = live.trainer
    order = trainer.train_loader.make_batch_order(trainer.epoch)[trainer.batch :][: trainer.settings.accumulate]
    return _describe_failure(live, [*trainer.train_loader.iter_rows(order, trainer.epoch)], trainer.step + 1)


@cache
def find_failing_batch(live: LiveRun) -> Replay:
    """Find the first batch with a loss that is not finite, with the last weights of a run that skips such updates.

    Args:
        live: The run.
    """
    loader = live.trainer.train_loader
    order = loader.make_batch_order(0)[:MAX_BATCHES]
    failing = (batch for batch in loader.iter_rows(order, 0) if not _has_finite_loss(live, batch))
    batch = next(failing, None)
    if batch is None:
        return Replay(None, f"the losses of the first {len(order):,} batches are finite with the last weights")
    return Replay(_describe_failure(live, [batch], None))


def _describe_failure(live: LiveRun, batches: Sequence[Batch], step: int | None) -> Failure:
    rows = [row for batch in batches for row in _find_bad_rows(live, batch)]
    layer, largest = None, 0.0
    if rows:
        single = live.trainer.train_loader.load_rows(torch.tensor([rows[0]]))
        layer = next((each for each in live.record_layers(single) if not each.is_finite), None)
        largest = max((float(v.abs().max()) for v in single.inputs.values() if v.is_floating_point()), default=0.0)
    nonfinite_rows = {row for batch in batches for row in find_nonfinite_rows(batch)}
    has_nonfinite_inputs = bool(rows) and nonfinite_rows >= {*rows}
    num_rows, growth = sum(map(len, batches)), live.measure_growth()
    return Failure(step, rows, num_rows, layer, has_nonfinite_inputs, largest, growth)


def _find_bad_rows(live: LiveRun, batch: Batch) -> list[int]:
    """Return the rows of a batch that alone give a loss that is not finite."""
    loader = live.trainer.train_loader
    return [row for row in batch.index.tolist() if not _has_finite_loss(live, loader.load_rows(torch.tensor([row])))]


def _has_finite_loss(live: LiveRun, batch: Batch) -> bool:
    task = live.trainer.task.eval()
    with torch.no_grad():
        return all(bool(task.loss(batch, name).isfinite()) for name in live.trainer.param_groups)


def find_nonfinite_rows(batch: Batch) -> Sequence[int]:
    """Return the numbers of the rows of a batch with inputs or targets that are not finite.

    Args:
        batch: Rows, of which the inputs of a batch of one graph are not those of single rows.
    """
    found: set[int] = set()
    values = [*batch.inputs.values(), *([] if batch.target is None else [batch.target])]
    for value in values:
        if value.is_floating_point() and len(value) == len(batch):
            is_bad = ~value.reshape(len(value), -1).isfinite().all(1)
            found |= set(batch.index[is_bad.cpu()].tolist())
    return sorted(found)
