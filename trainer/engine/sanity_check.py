"""Sanity check: one small batch through the task before training, so that incompatibilities are reported early."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from typing import Any

import torch

from trainer.core import rng
from trainer.core.batch import Batch, ScoreAccumulator
from trainer.core.task import Task
from trainer.engine import determinism
from trainer.engine.dataloader import Loader
from trainer.engine.device import is_out_of_memory
from trainer.engine.precision import autocast_context
from trainer.utils.errors import ConfigError


def run_sanity_check(
    task: Task, train: Loader, model_options: Mapping[str, Any], precision: int | str = 32
) -> tuple[str, ...]:
    """Run a small batch through the task, so that incompatibilities are reported before the first step.

    Args:
        task: The task.
        train: Loader of the training split.
        model_options: Options of the model in the configuration.
        precision: 32, ``bf16`` or ``fp16``.

    Returns:
        Names of the metrics that the task reports.

    Raises:
        ConfigError: The model cannot process the batch, or a layer does not support the precision on this device.
    """
    batch = make_small_batch(train)
    train.load_augmented_rows(batch.index[:2], 0)
    task.eval()
    try:
        with torch.no_grad(), rng.preserve_generators():
            totals = ScoreAccumulator()
            totals.update(task.score(batch))
            scores = task.metrics(totals.compute_totals())
    except (RuntimeError, ValueError, LookupError, TypeError) as error:
        if is_out_of_memory(error) or not _is_raised_by_network(error, task):
            raise
        if str(error).partition(":")[0] in model_options:
            raise ConfigError(f"model.{error}") from error
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in batch.inputs.items())
        arguments = ", ".join(str(p).split(":")[0] for p in inspect.signature(task.model.forward).parameters.values())
        reason = str(error).split("\n")[0]
        raise ConfigError(f"model: forward({arguments}) cannot take this data ({shapes}): {reason}") from error
    if len(batch) == 1:
        _train_on_one_row(task, batch)
    is_deterministic = task.progress.is_cuda and torch.are_deterministic_algorithms_enabled()
    if precision != 32 or is_deterministic:
        _compute_gradients(task, batch, precision)
    return tuple(scores)


def _is_raised_by_network(error: Exception, task: Task) -> bool:
    """Return whether an error was raised in a module of a task, not in the code of the task itself."""
    networks = {id(module) for module in task.modules() if module is not task}
    frames = traceback.walk_tb(error.__traceback__)
    return any(id(frame.f_locals.get("self")) in networks for frame, _ in frames)


def _train_on_one_row(task: Task, batch: Batch) -> None:
    """Raise ConfigError if a model cannot be trained on a batch of one row, as with batch norm."""
    initial_state = {name: value.clone() for name, value in task.state_dict().items()}
    task.train()
    try:
        with torch.no_grad(), rng.preserve_generators():
            for group_name in task.param_groups():
                task.loss(batch, group_name)
    except ValueError as error:
        if not _is_raised_by_network(error, task):
            raise
        raise ConfigError(f"batch_size: the model cannot train on batches of one row: {error}") from error
    finally:
        task.load_state_dict(initial_state)


def _compute_gradients(task: Task, batch: Batch, precision: int | str) -> None:
    """Compute the gradients of a batch.

    Raises:
        ConfigError: A layer of the model cannot be trained in a precision on this device.
        RuntimeError: An operation has no deterministic kernel, and only those are allowed.
    """
    initial_state = {name: value.clone() for name, value in task.state_dict().items()}
    device = task.progress.device
    task.train()
    try:
        with rng.preserve_generators():
            for group_name, parameters in task.param_groups().items():
                with autocast_context(device, precision):
                    loss = task.loss(batch, group_name)
                trainable = [parameter for parameter in parameters if parameter.requires_grad]
                torch.autograd.grad(loss, trainable, allow_unused=True)
    except RuntimeError as error:
        if is_out_of_memory(error) or precision == 32 or determinism.find_missing_kernel(error) is not None:
            raise
        reason = str(error).split(". ")[0].splitlines()[0]
        raise ConfigError(
            f"precision: {type(task.model).__name__} cannot be trained in {precision} on {device.type} ({reason}); use"
            " precision=32, or another device"
        ) from error
    finally:
        task.load_state_dict(initial_state)


def make_small_batch(train: Loader) -> Batch:
    """Return a small batch of training rows without augmentation."""
    return train.load_rows(torch.arange(min(len(train.split), train.batch_size)))
