"""Saving of checkpoints: at intervals, on an interruption, and at the end of training."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from trainer.core import rng
from trainer.engine import checkpoint_retention, device
from trainer.engine.background_writer import BackgroundWriter
from trainer.engine.best_checkpoint import BestCheckpoint
from trainer.engine.callbacks import Callback
from trainer.engine.checkpoint import CheckpointManager
from trainer.engine.host_snapshot import MIN_REUSED_BYTES, HostSnapshot
from trainer.engine.state_size import count_state_bytes
from trainer.utils.errors import Interrupted, SystemFault

if TYPE_CHECKING:
    from trainer.engine.step_metrics import StepMetrics
    from trainer.engine.trainer import Trainer

log = logging.getLogger(__name__)

GROUPS_KEY = "param_groups"
"""Part of the state whose tensors change only in ``ParamGroup``, which waits until they are copied."""


@dataclass(frozen=True)
class PendingSave:
    """A checkpoint that is being written.

    Args:
        best_weights: Best weights that are on the disk once it is written.
        previous_step: Step of the checkpoint before it.
    """

    best_weights: Mapping[str, Tensor] | None
    previous_step: int | None


class CheckpointCallback(Callback):
    """Saves the last state and the best weights at intervals.

    Training continues while a periodic checkpoint is written from a copy. A checkpoint that is due by steps waits for
    the one before it, one that is due by time is postponed. An error of the write ends training at the next step.

    It must come after all callbacks that have a state, so that their states are saved as of the same step.

    Args:
        manager: Writes the files, and knows which are retained.
        save_every: Seconds between checkpoints; None for none by time.
        save_every_steps: Steps between checkpoints; None for none by steps.
    """

    def __init__(self, manager: CheckpointManager, save_every: float | None, save_every_steps: int | None = None):
        self.manager = manager
        self.save_every = save_every
        self.step_intervals = [steps for steps in (save_every_steps, manager.retention.every) if steps is not None]
        self.writer = BackgroundWriter()
        self.snapshot = HostSnapshot()
        self._pending: PendingSave | None = None
        self._saved_at = time.monotonic()

    def on_fit_start(self, trainer: Trainer) -> None:
        self._saved_at = time.monotonic()
        if self.manager.last_path.exists():  # a resumed run
            trainer.last_checkpoint_step = trainer.step
        for group in trainer.param_groups.values():
            group.before_change = self.writer.wait_until_prepared
        if self.save_every is not None or self.step_intervals:
            self._reserve_memory(trainer)

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        if self.writer.has_ended:
            self._finish_write(trainer)
        if self._is_due() or (self.step_intervals and self._is_step_due(trainer.step)):
            self._start_save(trainer)

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        if self.manager.retention.best > 1:
            self._save_if_ranked(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self._is_due():
            self._start_save(trainer)

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        try:
            self._finish_write(trainer)
        except SystemFault as fault:  # the first error is reported, and an interrupted run tries again
            log.warning("%s", fault)
        if isinstance(error, Interrupted):
            self.save(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        self._finish_write(trainer)
        self.save(trainer)

    def save(self, trainer: Trainer, *, is_periodic: bool = False) -> None:
        """Save the state of a trainer, and its best weights if they have changed, before returning.

        Args:
            trainer: The trainer.
            is_periodic: Whether the state may be retained.
        """
        best = trainer.best
        with _name_last_checkpoint(trainer):
            new_best = None if best.is_saved else best.make_checkpoint()
            self.manager.save(trainer.state_dict(), new_best, is_periodic=is_periodic)
        best.is_saved = True
        trainer.last_checkpoint_step = trainer.step
        self._saved_at = time.monotonic()
        self._call_callbacks(trainer)

    def _is_due(self) -> bool:
        """Return whether a checkpoint is due by time; only ``save_every=0`` waits for the one that is being written."""
        if self.save_every is None or time.monotonic() - self._saved_at < self.save_every:
            return False
        return not self.save_every or not self.writer.is_busy

    def _is_step_due(self, step: int) -> bool:
        return any(step % steps == 0 for steps in self.step_intervals)

    def _start_save(self, trainer: Trainer) -> None:
        """Copy the state of a trainer, and start to write it, after the best weights if they have changed."""
        self._finish_write(trainer)
        try:
            state, complete = self.snapshot.copy(trainer.state_dict(), (GROUPS_KEY,))
        except (MemoryError, RuntimeError) as error:
            if not device.is_out_of_memory(error):
                raise
            log.warning("no memory to copy the state: training waits while a checkpoint is written")
            self.save(trainer, is_periodic=True)
            return
        best = trainer.best
        new_best = None if best.is_saved else best.make_checkpoint()
        self._pending = PendingSave(best.weights, trainer.last_checkpoint_step)
        # If the next step fails, this is the last checkpoint: its write ends before the run does.
        trainer.last_checkpoint_step = trainer.step
        self._saved_at = time.monotonic()
        self.writer.start(partial(self.manager.save, state, new_best, is_periodic=True), complete)

    def _finish_write(self, trainer: Trainer) -> None:
        """Wait for the files that are being written, if there are any.

        Raises:
            SystemFault: They cannot be written.
        """
        pending, self._pending = self._pending, None
        with _name_last_checkpoint(trainer):
            try:
                self.writer.finish()
            except BaseException:
                if pending is not None:
                    trainer.last_checkpoint_step = pending.previous_step
                raise
        if pending is not None:
            if trainer.best.weights is pending.best_weights:  # a validation replaces them
                trainer.best.is_saved = True
            self._call_callbacks(trainer)

    def _call_callbacks(self, trainer: Trainer) -> None:
        with rng.preserve_generators():  # the time of a checkpoint is not deterministic
            trainer.callbacks.on_checkpoint(trainer, self.manager.last_path)

    def _save_if_ranked(self, trainer: Trainer) -> None:
        """Start to write the weights of the last validation if they are among the best so far."""
        ranked_steps = checkpoint_retention.rank_validations(trainer.history, trainer.monitor_metric)
        if trainer.step not in ranked_steps[: self.manager.retention.best]:
            return
        self._finish_write(trainer)
        is_best = trainer.best.step == trainer.step
        weights = trainer.best.make_checkpoint() if is_best else _copy_weights(trainer)
        self.writer.start(partial(self.manager.save_ranked_weights, weights, trainer.step, ranked_steps))

    def _reserve_memory(self, trainer: Trainer) -> None:
        """Reserve the memory of the copies in a thread, because its first use takes longer than a write."""
        state = trainer.state_dict()

        def reserve() -> None:
            try:
                self.snapshot.copy(state)[1]()
            except (MemoryError, RuntimeError) as error:
                if not device.is_out_of_memory(error):
                    raise

        if count_state_bytes(state) >= MIN_REUSED_BYTES:
            self.writer.start(reserve)


@contextmanager
def _name_last_checkpoint(trainer: Trainer) -> Iterator[None]:
    """Add the step of the last checkpoint to an error of the disk."""
    try:
        yield
    except SystemFault as fault:
        raise SystemFault(f"{fault}; {trainer.describe_last_checkpoint()}") from fault


def _copy_weights(trainer: Trainer) -> dict[str, Any]:
    """Return the checkpoint of the weights of the last validation, which are not the best ones."""
    validated = BestCheckpoint(trainer.monitor_metric)
    row = trainer.history[-1]
    scores = {name.removeprefix("val_"): value for name, value in row.items() if name.startswith("val_")}
    with trainer.ema_weights():
        validated.replace_weights(scores, int(row["epoch"]), trainer.step, trainer.task.state_dict())
    return validated.make_checkpoint()
