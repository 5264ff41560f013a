"""Optimizers and schedules of the parameter groups of a task, built from checked configuration nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trainer.core.task import Task
from trainer.core.weight_matrices import find_decayed_parameters, find_matrix_parameters
from trainer.engine.process_group import ProcessGroup
from trainer.optim.flat_params import FlatParameters
from trainer.optim.lr_schedules import LRSchedule
from trainer.optim.optimizers import Optimizer
from trainer.optim.param_group_options import resolve_group_options
from trainer.optim.param_patterns import find_former_parameter_names, name_parameters
from trainer.optim.sharded_optimizer import ShardedOptimizer
from trainer.optim.stable_schedules import ScheduleFree
from trainer.optim.torch_optimizers import TorchOptimizer
from trainer.optim.torch_schedules import TorchSchedule
from trainer.utils.errors import ConfigError

MAX_CHECKED_STEPS = 1000
"""Number of steps whose active groups are counted one by one, to validate ``count_active_steps``."""


def flatten_param_groups(
    task: Task, entries: Sequence[Mapping[str, Any]], params_class: type[FlatParameters] = FlatParameters
) -> dict[str, FlatParameters]:
    """Flatten the parameters of each parameter group of a task, with their options from ``optimizer.groups``.

    Args:
        task: The task; frozen parameters are left out.
        entries: Entries of ``optimizer.groups``.
        params_class: Class that holds the parameters of a group.

    Returns:
        Flat parameters by the name of the group.

    Raises:
        ConfigError: A pattern matches no trainable parameter, or the parameters of a group are all frozen or have
            several dtypes or devices.
    """
    names = name_parameters(task)
    groups = {name: list(parameters) for name, parameters in task.param_groups().items()}
    trained = {p: own_names for p, own_names in names.items() if p.requires_grad}
    empty = [name for name, parameters in groups.items() if not any(p.requires_grad for p in parameters)]
    if empty:
        group_text = f" of {' and '.join(empty)}" if len(groups) > 1 else ""
        raise ConfigError(f"freeze: it leaves no parameter{group_text} to train")
    former_names = find_former_parameter_names(task)
    options = resolve_group_options(trained, entries, former_names)
    decayed, matrices = find_decayed_parameters(task), find_matrix_parameters(task)
    checkpoint_names = {parameter: own_names[0] for parameter, own_names in names.items()}
    try:
        return {
            name: params_class(parameters, decayed, checkpoint_names, options, matrices, former_names)
            for name, parameters in groups.items()
        }
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error


def make_optimizer(
    kind: type[Any], node: Mapping[str, Any], params: FlatParameters, process_group: ProcessGroup | None = None
) -> Optimizer:
    """Build the optimizer of a parameter group.

    Args:
        kind: Class of the optimizer, of this package or of torch.
        node: Configuration of the optimizer.
        params: Parameters of the group.
        process_group: Processes that divide the state of the optimizer; None if each has all of it.

    Raises:
        ConfigError: The class does not accept these values or parameters.
    """
    options = {key: value for key, value in node.items() if key not in ("_target_", "groups")}
    if process_group is not None and not (issubclass(kind, Optimizer) and kind.is_elementwise):
        raise ConfigError(
            f"shard_optimizer: the state of {kind.__name__} cannot be divided among processes; choose adam, adamw, sgd"
            " or rmsprop"
        )
    try:
        if issubclass(kind, torch.optim.Optimizer):
            return TorchOptimizer(params, kind, _without_lists(options))
        if process_group is None:
            return kind(params=params, **options)  # type: ignore[no-any-return]
        return ShardedOptimizer(params, lambda part: kind(params=part, **options), process_group)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"optimizer: {error}") from error


def make_schedule(
    kind: type[Any], node: Mapping[str, Any], optimizer: Optimizer, total_steps: int, configured_lr: float
) -> LRSchedule:
    """Build the learning-rate schedule of an optimizer.

    Args:
        kind: Class of the schedule, of this package or of torch.
        node: Configuration of the schedule.
        optimizer: Optimizer of the parameter group.
        total_steps: Number of updates of the parameter group.
        configured_lr: Learning rate in the configuration; that of the parameter group may differ.

    Raises:
        ConfigError: The class does not accept these values, or the optimizer has no momentum to cycle.
    """
    options = {key: value for key, value in node.items() if key != "_target_"}
    try:
        if issubclass(kind, torch.optim.lr_scheduler.LRScheduler):
            warmup = options.pop("warmup", 0)
            schedule: LRSchedule = TorchSchedule(kind, options, optimizer.lr, total_steps, warmup, configured_lr)
        else:
            schedule = kind(lr=optimizer.lr, total=total_steps, **options)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"scheduler: {error}") from error
    if schedule(0)[1] is not None and not optimizer.has_momentum:
        if isinstance(schedule, ScheduleFree):
            raise ConfigError("scheduler=schedule_free: the optimizer has no momentum to replace; choose adamw or sgd")
        raise ConfigError("scheduler.cycle_momentum: the optimizer has no momentum; set it to false")
    return schedule


def count_updates(task: Task, steps: int) -> Counter[str]:
    """Return the number of updates of each parameter group.

    Args:
        task: The task.
        steps: Number of steps of the run.

    Raises:
        ConfigError: ``count_active_steps`` of the task contradicts its ``active_groups``.
    """
    num_checked = min(steps, MAX_CHECKED_STEPS)
    counted = Counter(name for step in range(num_checked) for name in task.active_groups(step))
    if +Counter(task.count_active_steps(num_checked)) != counted:
        raise ConfigError(f"task: {type(task).__name__}.count_active_steps({num_checked}) contradicts active_groups()")
    return Counter(task.count_active_steps(steps))


def _without_lists(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with tuples in place of lists, as the optimizers of torch expect."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
