"""Check that a model can overfit one batch: if it cannot, its gradient, its loss or its size is at fault."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.engine.trainer import Trainer
from trainer.utils.errors import NonFiniteError

MAX_ROWS = 16
"""Most rows of the batch: few, so that a model of any size can tell them apart."""
MAX_SHARE = 0.05
"""Share of the first loss, above the lowest possible one, below which a batch is learned."""
MIN_FALL = 0.1
"""Fall of a loss whose lowest value is unknown, relative to its first absolute value, for which a batch is learned."""
PROGRESS = 0.99
"""Factor below which a loss is better than the best one so far, not only by noise."""


@dataclass
class OverfitResult:
    """Outcome for one parameter group.

    Args:
        group: Its name.
        target: Loss at which the batch is learned.
        has_floor: Whether the lowest possible loss is known.
        losses: Loss before each step, and after the last one.
        last_progress: Step since which the loss has not fallen any more.
        without_gradient: Names of the trained parameters whose gradient was zero in the last step.
    """

    group: str
    target: float = -math.inf
    has_floor: bool = True
    losses: list[float] = field(default_factory=list)
    last_progress: int = 0
    without_gradient: list[str] = field(default_factory=list)

    @property
    def is_learned(self) -> bool:
        """Whether the loss has reached its target."""
        return bool(self.losses) and self.losses[-1] <= self.target

    def add_loss(self, loss: float, floor: float | None) -> None:
        """Add the loss of a step; the first one sets the target.

        Args:
            loss: The loss.
            floor: Lowest possible loss; None if it is unknown.
        """
        if not self.losses:
            self.has_floor = floor is not None
            self.target = loss - MIN_FALL * abs(loss) if floor is None else floor + MAX_SHARE * max(0.0, loss - floor)
        best = min(self.losses, default=math.inf)
        if loss - self.target < PROGRESS * (best - self.target):
            self.last_progress = len(self.losses)
        self.losses.append(loss)


def overfit_batch(
    trainer: Trainer,
    batch: Batch,
    group: str,
    max_steps: int,
    on_step_end: Callable[[OverfitResult], None] = lambda _: None,
) -> OverfitResult:
    """Train one parameter group on one batch until its loss is almost the lowest possible one.

    Every step draws the same random numbers, so that noise is part of what is memorized.

    Args:
        trainer: A new trainer.
        batch: The batch, on the device of the task.
        group: Name of the parameter group; the others stay as they are.
        max_steps: Largest number of steps.
        on_step_end: Called after each step, and may raise an exception.
    """
    result, floor = OverfitResult(group), trainer.task.loss_floor
    params = trainer.param_groups[group]
    trainer.task.train()
    for step in range(max_steps + 1):
        trainer.step_metrics.clear_updates()
        with rng.fork_rng(trainer.settings.seed, trainer.device):
            try:
                trainer.update_param_group(params, [batch])
                trainer.check_finite()
            except NonFiniteError:
                result.add_loss(math.nan, floor)
                break
        result.add_loss(trainer.step_metrics["loss"], floor)
        on_step_end(result)
        if result.is_learned or step == max_steps:
            break
    result.without_gradient = find_parameters_without_gradient(trainer, group)
    return result


def find_parameters_without_gradient(trainer: Trainer, group: str) -> list[str]:
    """Return the names of the parameters of a group whose gradient of the last step is zero.

    Args:
        trainer: The trainer.
        group: Name of the group.
    """
    own = {id(parameter) for parameter in trainer.task.param_groups()[group]}
    named = ((name, p) for name, p in trainer.task.named_parameters() if id(p) in own and p.requires_grad)
    return [name for name, parameter in named if parameter.grad is None or not bool(parameter.grad.any())]


def disable_dropout(task: nn.Module) -> None:
    """Let the dropout layers of a task pass everything, in training mode too.

    Args:
        task: The task with its model.
    """
    for module in task.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(module, nn.RNNBase | nn.MultiheadAttention):
            module.dropout = 0.0


def overfit_groups(
    trainer: Trainer, max_steps: int, on_step_end: Callable[[OverfitResult], None] = lambda _: None
) -> list[OverfitResult]:
    """Train each parameter group in turn on the first rows, each from the initial weights of all.

    Args:
        trainer: A new trainer.
        max_steps: Largest number of steps of a group.
        on_step_end: Called after each step, and may raise an exception.
    """
    rows = trainer.train_loader.make_batch_order(0)[0][:MAX_ROWS]
    batch = trainer.train_loader.load_rows(rows)
    initial_state = {name: value.clone() for name, value in trainer.task.state_dict().items()}
    results = []
    for name in trainer.task.param_groups():
        trainer.task.load_state_dict(initial_state)
        results.append(overfit_batch(trainer, batch, name, max_steps, on_step_end))
    return results
