"""Updates of parameter groups, which a training loop leaves to its caller."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from trainer.engine.param_group import ParamGroup
    from trainer.engine.trainer import Trainer

ResultT = TypeVar("ResultT")


class Update(NamedTuple):
    """Update that a trainer takes next.

    Args:
        trainer: The trainer.
        group: Parameter group to update.
        batches: Batches of the strategy over which gradients are accumulated.
    """

    trainer: Trainer
    group: ParamGroup
    batches: Sequence[Any]


def take_updates(updates: Generator[Update, None, ResultT]) -> ResultT:
    """Take all updates of a training loop, one after another, and return the result of the loop.

    Args:
        updates: The loop, in which an error of an update is raised again, so that it can save its state.
    """
    while True:
        try:
            update = next(updates)
        except StopIteration as end:
            result: ResultT = end.value
            return result
        try:
            update.trainer.update_param_group(update.group, update.batches)
        except BaseException as error:
            updates.throw(error)
            raise
