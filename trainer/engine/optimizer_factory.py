"""Optimizers and schedules of the parameter groups of a task, ours and torch's, from checked configuration nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trainer.core.task import Task
from trainer.core.weight_matrices import find_decayed_parameters, find_matrix_parameters
from trainer.optim.flat_params import FlatParameters
from trainer.optim.lr_schedules import LRSchedule
from trainer.optim.optimizers import Optimizer
from trainer.optim.param_patterns import find_former_parameter_names, name_parameters, resolve_group_options
from trainer.optim.torch_optimizers import TorchOptimizer
from trainer.optim.torch_schedules import TorchSchedule
from trainer.utils.errors import ConfigError


def flatten_param_groups(task: Task, entries: Sequence[Mapping[str, Any]]) -> dict[str, FlatParameters]:
    """The parameters of each group of a task as a vector, with the options that ``optimizer.groups`` gives them.

    Raises:
        ConfigError: A pattern matches nothing that is trained, or ``freeze`` leaves a group nothing to train.
    """
    names = name_parameters(task)
    groups = {name: list(parameters) for name, parameters in task.param_groups().items()}
    trained = {p: own for p, own in names.items() if p.requires_grad}
    empty = [name for name, parameters in groups.items() if not any(p.requires_grad for p in parameters)]
    if empty:
        of = f" of {' and '.join(empty)}" if len(groups) > 1 else ""
        raise ConfigError(f"freeze: it leaves no parameter{of} to train")
    former = find_former_parameter_names(task)
    options = resolve_group_options(trained, entries, former)
    decayed, matrices = find_decayed_parameters(task), find_matrix_parameters(task)
    called = {parameter: own[0] for parameter, own in names.items()}
    return {
        name: FlatParameters(parameters, decayed, called, options, matrices, former)
        for name, parameters in groups.items()
    }


def make_optimizer(kind: type[Any], node: Mapping[str, Any], params: FlatParameters) -> Optimizer:
    """The optimizer of a parameter group.

    Args:
        kind: Its class, ours or one of torch.
        node: Its configuration.

    Raises:
        ConfigError: The class does not take these values or parameters.
    """
    options = {key: value for key, value in node.items() if key not in ("_target_", "groups")}
    try:
        if issubclass(kind, torch.optim.Optimizer):
            return TorchOptimizer(params, kind, _without_lists(options))
        return kind(params=params, **options)  # type: ignore[no-any-return]
    except (ValueError, TypeError) as error:
        raise ConfigError(f"optimizer: {error}") from error


def make_schedule(
    kind: type[Any], node: Mapping[str, Any], optimizer: Optimizer, total: int, configured_lr: float
) -> LRSchedule:
    """The schedule of the learning rate of an optimizer.

    Args:
        kind: Its class, ours or one of torch.
        node: Its configuration.
        total: The steps that the optimizer will take.
        configured_lr: The rate in the configuration, from which a task may let a parameter group depart.

    Raises:
        ConfigError: The class does not take these values, or the optimizer has no momentum to set.
    """
    options = {key: value for key, value in node.items() if key != "_target_"}
    try:
        if issubclass(kind, torch.optim.lr_scheduler.LRScheduler):
            warmup = options.pop("warmup", 0)
            made: LRSchedule = TorchSchedule(kind, options, optimizer.lr, total, warmup, configured_lr)
        else:
            made = kind(lr=optimizer.lr, total=total, **options)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"scheduler: {error}") from error
    if made(0)[1] is not None and not optimizer.has_momentum:
        raise ConfigError("scheduler.cycle_momentum: the optimizer has no momentum; set it to false")
    return made


def _without_lists(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with tuples where the configuration has lists, as torch's optimizers are given them."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
