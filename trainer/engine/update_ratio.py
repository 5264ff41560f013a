"""Update ratio: norm of an update divided by the norm of the weights, of the last update before a validation.

Measuring it takes a copy of the weights, so that it is measured once an epoch and not in every step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pages of directories are written without torch
    from torch import Tensor

    from trainer.engine.param_group import ParamGroup
    from trainer.engine.trainer import Trainer
    from trainer.optim.flat_params import FlatParameters

PREFIX = "update_ratio_"
"""Prefix of the columns of the history; the rest is the name of the parameter group."""
MAX_LATER_STEPS = 10
"""Steps before the end of an epoch in which a group that not every step updates must be updated to be measured."""


def is_last_update(trainer: Trainer, name: str, num_batches: int) -> bool:
    """Return whether a step takes the last update of a parameter group in its epoch.

    It is a function of the position alone, so that a resumed run measures the same updates.

    Args:
        trainer: The trainer, before the step is counted.
        name: Name of the parameter group.
        num_batches: Batches of the step.
    """
    later_batches = len(trainer.train_loader) - trainer.batch - num_batches
    later_steps = min(-(-later_batches // trainer.settings.accumulate), trainer.total_steps - trainer.step - 1)
    if later_steps > MAX_LATER_STEPS:
        return False
    steps = range(trainer.step + 1, trainer.step + 1 + later_steps)
    return not any(name in trainer.task.active_groups(step) for step in steps)


def compute_update_ratio(params: FlatParameters, before: Tensor) -> Tensor:
    """Return the norm of an update divided by that of the weights before it, a scalar; NaN for weights of norm 0.

    Args:
        params: Parameters after the update.
        before: Their vector ``(P,)`` before it.
    """
    norm = params.compute_norm(before)
    return (params.compute_norm(params.data - before) / norm).masked_fill(norm == 0, math.nan)


def make_columns(groups: Mapping[str, ParamGroup], history: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the columns of a validation, NaN for groups without an update since the last one.

    Runs started by an older version have no such columns, and get none when they are resumed.

    Args:
        groups: Parameter groups by name; what they have measured is forgotten.
        history: Earlier rows.
    """
    first_row = next(iter(history), None)
    columns = {}
    for name, group in groups.items():
        ratio, group.update_ratio = group.update_ratio, None
        columns[PREFIX + name] = math.nan if ratio is None else float(ratio)
    return {key: value for key, value in columns.items() if first_row is None or key in first_row}
