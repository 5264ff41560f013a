"""Repetition of the steps before a loss or gradient that was not finite, which has the same bits."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from trainer.analysis.diagnosis.activations import LayerActivations
from trainer.analysis.diagnosis.live_run import LiveRun, find_nonfinite_rows
from trainer.core.batch import Batch
from trainer.engine.callbacks import Callback, CallbackList
from trainer.engine.step_metrics import StepMetrics
from trainer.engine.trainer import Trainer
from trainer.utils.errors import NonFiniteError

MAX_SECONDS = 120.0
"""Seconds after which the repetition is given up."""


@dataclass(frozen=True)
class Failure:
    """A step whose loss or gradient is not finite.

    Args:
        step: Number of the step, from 1.
        rows: Rows of its batch that alone give a loss that is not finite.
        batch_size: Number of rows of the batch.
        layer: First result that is not finite for the first of these rows; None if all layers are finite.
        has_nonfinite_inputs: Whether inputs or targets of these rows are not finite.
        largest_input: Largest absolute value of the inputs of these rows.
        growth_by_name: Norm of each parameter, divided by that of its initial value.
    """

    step: int
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


class _Deadline(Callback):
    """Ends a repetition that takes too long."""

    def __init__(self) -> None:
        self.end = time.monotonic() + MAX_SECONDS

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        trainer.should_stop = time.monotonic() > self.end


@cache
def replay_failure(live: LiveRun) -> Failure | None:
    """Train from the last checkpoint to the step that is not finite; None if there is none.

    Args:
        live: The run, whose trainer is left at this step.
    """
    trainer = live.trainer
    trainer.callbacks = CallbackList([_Deadline()])
    try:
        trainer.fit()
    except NonFiniteError:
        pass
    else:
        return None
    order = trainer.train_loader.make_batch_order(trainer.epoch)[trainer.batch :][: trainer.settings.accumulate]
    batches = [*trainer.train_loader.iter_rows(order, trainer.epoch)]
    rows = [(batch, row) for batch in batches for row in _find_bad_rows(live, batch)]
    layer, largest = None, 0.0
    if rows:
        single = trainer.train_loader.load_rows(torch.tensor([rows[0][1]]))
        layer = next((each for each in live.record_layers(single) if not each.is_finite), None)
        largest = max((float(v.abs().max()) for v in single.inputs.values() if v.is_floating_point()), default=0.0)
    numbers = [row for _, row in rows]
    held = {row for batch in batches for row in find_nonfinite_rows(batch)}
    return Failure(
        trainer.step + 1,
        numbers,
        sum(map(len, batches)),
        layer,
        bool(numbers) and held >= {*numbers},
        largest,
        _measure_growth(live),
    )


def _find_bad_rows(live: LiveRun, batch: Batch) -> list[int]:
    """Return the rows of a batch that alone give a loss that is not finite."""
    loader, task = live.trainer.train_loader, live.trainer.task.eval()
    found = []
    for row in batch.index.tolist():
        single = loader.load_rows(torch.tensor([row]))
        with torch.no_grad():
            losses = [task.loss(single, name) for name in live.trainer.param_groups]
        if not all(bool(loss.isfinite()) for loss in losses):
            found.append(row)
    return found


def _measure_growth(live: LiveRun) -> dict[str, float]:
    return {name: math.inf if math.isnan(value) else value for name, value in live.measure_growth().items()}
