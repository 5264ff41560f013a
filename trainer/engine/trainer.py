"""Training loop, the same for every task.

A task defines its parameter groups, the groups that a step updates, and their losses. Everything else is implemented
here: zeroing gradients, backward, clipping, mixed precision, accumulation, schedules, EMA and the NaN guard.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from trainer.config.schema import Settings
from trainer.core import rng
from trainer.core.task import Task
from trainer.engine import evaluation, precision, update_ratio
from trainer.engine.best_checkpoint import BestCheckpoint
from trainer.engine.callbacks import Callback, CallbackList
from trainer.engine.dataloader import Loader, count_total_steps
from trainer.engine.nan_guard import NonFiniteStepError, make_nan_guard
from trainer.engine.nonfinite_updates import make_nonfinite_error, restore_skipped
from trainer.engine.param_group import ParamGroup
from trainer.engine.saved_buffers import SavedBuffers
from trainer.engine.step_metrics import StepMetrics
from trainer.engine.strategy import SingleDevice, Strategy
from trainer.engine.trainer_state import collect_state, restore_state
from trainer.engine.update import Update, take_updates
from trainer.metrics.registry import find_task_metric, get_monitor_name
from trainer.utils.errors import NonFiniteError


class Trainer:
    """Trains and validates a task; a resumed run is identical to the bit.

    Args:
        task: The task with its model, on the device of the loaders.
        param_groups: Parameter groups by the names that ``Task.active_groups`` uses.
        train: Loader of the training split.
        val: Loader of the validation split.
        settings: Global keys of the configuration.
        callbacks: Callbacks in the order of their calls.
        strategy: How gradients are computed; None for one process.

    Raises:
        ValueError: The direction of the monitored metric is unknown.
    """

    def __init__(
        self,
        task: Task,
        param_groups: dict[str, ParamGroup],
        train: Loader,
        val: Loader,
        settings: Settings,
        callbacks: Sequence[Callback] = (),
        strategy: Strategy[Any] | None = None,
    ):
        self.task = task
        self.param_groups = param_groups
        self.train_loader = train
        self.val_loader = val
        self.settings = settings
        self.callbacks = CallbackList(callbacks)
        self.device = train.device
        self.strategy: Strategy[Any] = strategy or SingleDevice()
        self.monitor = settings.monitor or get_monitor_name(task)
        metric = find_task_metric(task, self.monitor)
        if metric is None:
            raise ValueError(f"monitor: the direction of {self.monitor!r} is unknown (see trainer.Metric)")
        self.monitor_metric = metric
        self.total_steps = count_total_steps(train, settings)
        self.loss_fn = torch.compile(task.loss) if settings.compile else task.loss
        self.scaler = precision.make_grad_scaler(self.device, settings.precision, self.strategy.gradient_group)
        self.nan_guard = make_nan_guard(self.device, settings.on_nonfinite)
        self.epoch = self.batch = self.step = 0
        self.should_stop = False
        self.last_checkpoint_step: int | None = None
        self.previous_seconds = 0.0
        self.step_metrics = StepMetrics(param_groups)
        self.history: list[dict[str, float]] = []
        self.best = BestCheckpoint(self.monitor_metric)
        self._started_at = time.monotonic()

    @property
    def elapsed_seconds(self) -> float:
        """Seconds of training and validation, including those before the run was resumed."""
        return self.previous_seconds + time.monotonic() - self._started_at

    def fit(self) -> None:
        """Train to the last step, or until a callback sets ``should_stop``."""
        take_updates(self.iter_fit())

    def iter_fit(self) -> Generator[Update, None, None]:
        """Train as ``fit``, but leave each update of a parameter group to the caller, see ``update.take_updates``."""
        try:
            self.strategy.start(self)
            with rng.preserve_generators():  # a resumed run calls this hook more often, but must draw the same numbers
                self.callbacks.on_fit_start(self)
            self._started_at = time.monotonic()
            while not self.is_finished():
                yield from self.iter_epoch()
                is_last = self.step >= self.total_steps or self.should_stop
                if (self.epoch + 1) % self.settings.val_every == 0 or is_last:
                    self.run_validation()
                self.epoch += 1
                self.batch = 0
                self.callbacks.on_epoch_end(self)
            if not self.total_steps and not self.history:
                self.run_validation()  # the initial weights are the best ones
        except BaseException as error:
            self.callbacks.on_exception(self, error)
            self.strategy.finish_exception(self, error)
            raise
        self.callbacks.on_fit_end(self)

    def is_finished(self) -> bool:
        """Return whether the last step has been taken and its epoch has been validated."""
        return (self.step >= self.total_steps or self.should_stop) and self.batch == 0

    def train_epoch(self) -> None:
        """Train the rest of the current epoch.

        Raises:
            NonFiniteError: A loss or gradient is not finite.
        """
        take_updates(self.iter_epoch())

    def iter_epoch(self) -> Generator[Update, None, None]:
        """Train as ``train_epoch``, but leave each update of a parameter group to the caller."""
        self.task.train()
        with closing(self.strategy.iter_epoch(self.train_loader, self.epoch, self.batch)) as batches:
            self.step_metrics.start_timer()
            while self.has_steps_left() and (microbatches := list(islice(batches, self.settings.accumulate))):
                self.step_metrics.clear_updates()
                self.task.progress.fill_(self.step / self.total_steps)
                for name in self.task.active_groups(self.step):
                    yield Update(self, self.param_groups[name], microbatches)
                self.step += 1
                self.batch += len(microbatches)
                self.step_metrics.record_rows(sum(map(len, microbatches)))
                self.callbacks.on_step_end(self, self.step_metrics)
                if not self.task.training:  # a callback has evaluated the task
                    self.task.train()
        self.check_finite()

    def check_finite(self) -> None:
        """Wait for an accelerator, whose steps are checked together.

        Raises:
            NonFiniteError: A loss or gradient since the last check was not finite.
        """
        try:
            self.nan_guard.check()
        except NonFiniteStepError:
            text = f"not finite at or before step {self.step}; {self.describe_last_checkpoint()}"
            raise NonFiniteError(text) from None

    def has_steps_left(self) -> bool:
        """Return whether another step should be taken."""
        return self.step < self.total_steps and not self.should_stop

    def update_param_group(self, group: ParamGroup, microbatches: Sequence[Any]) -> None:
        """Take one optimizer step of a parameter group.

        Args:
            group: The parameter group.
            microbatches: Batches of the strategy over which gradients are accumulated.

        Raises:
            NonFiniteError: The loss or the gradient is not finite; the weights were not updated.
        """
        buffers = self.nan_guard.save_buffers(self.task)
        self.apply_gradient(group, microbatches, self.strategy.compute_gradient(self, group, microbatches), buffers)

    def apply_gradient(
        self, group: ParamGroup, microbatches: Sequence[Any], total: Tensor, buffers: SavedBuffers | None = None
    ) -> None:
        """Take the optimizer step of a parameter group whose gradient has been computed.

        Args:
            group: The parameter group.
            microbatches: Batches of the strategy that the gradient was computed from.
            total: Their mean loss, a scalar.
            buffers: Buffers of the task from before the loss was computed, if the step may be skipped.

        Raises:
            NonFiniteError: The loss or the gradient is not finite; the weights were not updated.
        """
        self.scaler.unscale_(group.optimizer)  # type: ignore[arg-type]
        norm = group.params.compute_grad_norm()
        # Scaled gradients may overflow: the gradient scaler itself skips such a step.
        finite_norm = norm.nan_to_num(0.0, 0.0, 0.0) if self.scaler.is_enabled() else norm
        try:
            found_inf = self.nan_guard.update(total, finite_norm, group.name)
        except NonFiniteStepError:
            raise make_nonfinite_error(self, group, microbatches, total, norm) from None
        if buffers is not None and found_inf is not None:
            restore_skipped(self, group, microbatches, buffers, found_inf)
        self.step_metrics.record_update(group.name, total, norm)
        group.clip_gradient(norm, self.settings)
        group.step(self.scaler, found_inf, update_ratio.is_last_update(self, group.name, len(microbatches)))

    def describe_last_checkpoint(self) -> str:
        """Return a phrase for messages: the step of the last checkpoint, if there is one."""
        saved = self.last_checkpoint_step
        return "no checkpoint yet" if saved is None else f"last good checkpoint: step {saved}"

    def run_validation(self) -> None:
        """Evaluate the validation split, and keep the weights if they are the best so far."""
        self.strategy.verify_replicas(self)
        scores = self.evaluate_loader(self.val_loader, notify=True)
        loss, norm = self.nan_guard.compute_means()
        epoch = self.epoch + 1 if self.total_steps else 0
        row = {"epoch": epoch, "step": self.step, "seconds": round(self.elapsed_seconds, 3), "train_loss": loss}
        row |= {"grad_norm": norm} | {f"lr_{group.name}": group.lr for group in self.param_groups.values()}
        has_val_loss = all("val_loss" in first_row for first_row in self.history[:1])  # not in older runs
        val_loss = self.task.validation_loss(scores) if has_val_loss else None
        row |= {} if val_loss is None else {"val_loss": val_loss}
        row |= update_ratio.make_columns(self.param_groups, self.history)
        self.history.append(row | {f"val_{name}": value for name, value in scores.items()})
        self.nan_guard.reset()
        if self.best.is_improvement(scores):
            with self.ema_weights():
                self.best.replace_weights(scores, epoch, self.step, self.task.state_dict())
        for group in self.param_groups.values():
            group.schedule.update_score(scores[self.monitor], self.monitor_metric)
        self.callbacks.on_validation_end(self, self.history[-1])

    def evaluate_loader(self, loader: Loader, *, notify: bool = False) -> dict[str, float]:
        """Return the metrics of a split, computed with the EMA weights if there are any.

        Args:
            loader: Loader of the split.
            notify: Call ``on_evaluation_batch_end`` after each batch, which may stop the run. Must be False within a
                callback, because later callbacks have not been called for the current step.
        """
        with self.ema_weights():
            on_batch_end = partial(self.callbacks.on_evaluation_batch_end, self) if notify else None
            group = self.strategy.evaluation_group
            scores = evaluation.evaluate_split(self.task, loader, self.settings, on_batch_end, group)
        return self.strategy.share_scores(scores)

    @contextmanager
    def ema_weights(self) -> Iterator[None]:
        """Use the EMA weights within the block."""
        for group in self.param_groups.values():
            group.swap_ema()
        try:
            yield
        finally:
            for group in self.param_groups.values():
                group.swap_ema()

    def load_best_weights(self) -> None:
        """Load the best weights and decisions. The weights are those of the EMA if there is one, which is dropped."""
        self.strategy.restore_model(self.task)
        if self.best.weights is not None:
            self.strategy.load_best(self.best, self.task)
            for group in self.param_groups.values():
                group.drop_ema()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on, as tensors and plain values.

        Raises:
            NonFiniteError: A loss or gradient was not finite; running statistics may hold it, although no weight does.
        """
        return collect_state(self)

    def load_state_dict(self, state: dict[str, Any], best: dict[str, Any] | None) -> None:
        """Restore a state.

        Args:
            state: Result of ``state_dict``.
            best: Checkpoint of the best weights, if there is one.

        Raises:
            ConfigError: A key of the state is missing.
        """
        restore_state(self, state, best)
