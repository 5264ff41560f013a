"""Updates of several members, whose training loops take their steps in turn."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Generator, Hashable, Sequence
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from trainer.core import rng
from trainer.engine.member_dropout import DropoutRates
from trainer.engine.member_gradient import MemberGradient, describe_shapes
from trainer.engine.member_strategy import MemberMatrix, MemberStrategy
from trainer.engine.saved_buffers import SavedBuffers
from trainer.engine.strategy import SingleDevice
from trainer.engine.update import Update

log = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest relative difference of the losses of the first step to those that each member computes alone."""
GRADIENT_TOLERANCE = 1e-3
"""Largest norm of the difference to the gradient that the first member computes alone, divided by the norm of that."""


class MemberLoop:
    """Training loop of a member, executed in a context of its own.

    Args:
        row: Row of the member in the matrix of parameters.
        loop: The loop.
        context: Context in which it is executed, such as with the log of its run.
        on_switch: Called before each part of the loop.
    """

    def __init__(
        self,
        row: int,
        loop: Generator[Update, None, None],
        context: Context,
        on_switch: Callable[[], None] = lambda: None,
    ):
        self.row = row
        self.update: Update | None = None
        self.error: Exception | None = None
        self._loop, self._context, self._on_switch = loop, context, on_switch

    def advance(self) -> bool:
        """Execute the loop up to its next update; return whether there is one, or the loop has ended."""
        return self._execute(lambda: next(self._loop))

    def take(self, apply: Callable[[Update], None]) -> bool:
        """Take the update and go on to the next one; return whether there is one.

        Args:
            apply: Takes the update; an error ends the loop of this member alone.
        """
        update = self.update
        assert update is not None

        def take_and_advance() -> Update:
            try:
                apply(update)
            except BaseException as error:
                return self._loop.throw(error)
            return next(self._loop)

        return self._execute(take_and_advance)

    def close(self) -> None:
        """End the loop where it is, unless it has ended."""
        self._on_switch()
        self._context.run(self._loop.close)

    def _execute(self, function: Callable[[], Update]) -> bool:
        self._on_switch()
        self.update = None
        try:
            self.update = self._context.run(function)
        except StopIteration:
            return False
        except Exception as error:
            self.error = error
        return self.update is not None


def take_member_updates(members: Sequence[MemberLoop], matrix: MemberMatrix) -> None:
    """Take all updates of the training loops of members, those of the same step together where it is possible.

    Args:
        members: The loops, each with its first update unless it has ended.
        matrix: Parameters of all members.
    """
    running = [member for member in members if member.update is not None]
    try:
        taker = _UpdateTaker(running, matrix)
        while running:
            running = taker.take(running)
    finally:
        for member in members:  # an error that ends all of them, such as a second signal
            member.close()


class _UpdateTaker:
    """Takes the updates of members, together unless their loss cannot be computed together.

    Args:
        members: Members with their first update.
        matrix: Parameters of all members.
    """

    def __init__(self, members: Sequence[MemberLoop], matrix: MemberMatrix):
        self._gradient: MemberGradient | None = None
        self._dropout_rates: dict[Hashable, dict[int, Sequence[float]]] = {}
        if len(members) > 1 and len(_get_update(members[0]).trainer.param_groups) == 1:
            updates, rows = [_get_update(member) for member in members], [member.row for member in members]
            self._gradient = MemberGradient(updates, rows, matrix)

    def take(self, members: Sequence[MemberLoop]) -> list[MemberLoop]:
        """Take one update of each member, and return those that have another one."""
        running: list[MemberLoop] = []
        for shapes, same in _group_by_shapes(members):
            losses = None if self._gradient is None or len(same) == 1 else self._compute(same, shapes)
            if losses is None:
                running += [member for member in same if member.take(_take_alone)]
            else:
                pairs = zip(same, losses.unbind(), strict=True)
                running += [member for member, loss in pairs if member.take(partial(_apply_gradient, loss=loss))]
        return running if len(running) < 2 else sorted(running, key=lambda member: member.row)

    def _compute(self, members: Sequence[MemberLoop], shapes: Hashable) -> Tensor | None:
        """Compute the gradients of members with batches of the same shapes; None if it is not possible."""
        assert self._gradient is not None
        updates, rows = [_get_update(member) for member in members], [member.row for member in members]
        if (known := self._dropout_rates.get(shapes)) is not None and known.keys() >= {*rows}:
            try:
                return self._gradient.compute(updates, rows, [known[row] for row in rows])
            except RuntimeError as error:  # such as for lack of memory; no weight has changed yet
                self._give_up(str(error))
                return None
        try:
            expected = compute_separately(updates)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of operations that are slow together, which the probe measures
                saved = [SavedState(update) for update in updates]
                losses = self._gradient.compute(updates, rows, expected.dropout_rates)
            if expected.matches(losses, updates[0].group.params.grad):
                self._dropout_rates[shapes] = dict(zip(rows, expected.dropout_rates, strict=True))
                return losses
            for state in saved:
                state.restore()
            reason = "their losses or gradients differ when they are computed together"
        except Exception as error:
            reason = str(error)
        self._give_up(reason)
        return None

    def _give_up(self, reason: str) -> None:
        """Compute the gradients of each member alone from now on."""
        log.info("members are trained one by one: %s", " ".join(reason.split())[:200])
        self._gradient = None


class SavedState:
    """Buffers and random numbers of a member, from before a joint computation that may have to be undone.

    Args:
        update: Its update.
    """

    def __init__(self, update: Update):
        self._buffers = SavedBuffers(update.trainer.task)
        self._strategy = cast(MemberStrategy, update.trainer.strategy)
        self._generator = self._strategy.make_generator()

    def restore(self) -> None:
        """Undo the computation."""
        self._buffers.restore(torch.ones(()))
        self._strategy.store_generator(self._generator)


@dataclass(frozen=True)
class SeparateStep:
    """What members compute alone, with which a joint computation is compared.

    Args:
        losses: Loss of each member ``(M,)``.
        gradient: Gradient ``(P,)`` of the first one.
        dropout_rates: Probability of each call of dropout, for each member.
    """

    losses: Tensor
    gradient: Tensor
    dropout_rates: Sequence[Sequence[float]]

    def matches(self, losses: Tensor, gradient: Tensor) -> bool:
        """Return whether the results of a joint computation are equal but for rounding.

        Args:
            losses: Loss of each member ``(M,)``.
            gradient: Gradient ``(P,)`` of the first one.
        """
        if not torch.allclose(losses, self.losses, TOLERANCE, TOLERANCE, equal_nan=True):
            return False
        difference = (gradient - self.gradient).norm()
        # A gradient that is not finite ends its member in any case.
        return bool(difference <= GRADIENT_TOLERANCE * self.gradient.norm()) or not bool(difference.isfinite())


def compute_separately(updates: Sequence[Update]) -> SeparateStep:
    """Return what each member computes alone, without a change of weights or buffers.

    Args:
        updates: Update of each member.
    """
    first, saved = updates[0], [SavedBuffers(update.trainer.task) for update in updates]
    losses, rates = [], []
    with rng.preserve_generators():
        for update in updates:
            with DropoutRates() as dropout:
                losses.append(compute_loss(update))
            rates.append(dropout.rates)
        saved[0].restore(torch.ones(()))
        # Its own strategy would keep the random numbers that it has drawn.
        first.trainer.strategy.request_state()
        SingleDevice().compute_gradient(first.trainer, first.group, first.batches)
    for buffers in saved:
        buffers.restore(torch.ones(()))
    return SeparateStep(torch.stack(losses), first.group.params.grad.clone(), rates)


def compute_loss(update: Update) -> Tensor:
    """Return the loss of a member as it computes it alone, a scalar, with the random numbers that it draws next."""
    update.trainer.strategy.request_state()
    with torch.no_grad():
        loss: Tensor = update.trainer.loss_fn(update.batches[0], update.group.name)
    return loss


def _get_update(member: MemberLoop) -> Update:
    assert member.update is not None
    return member.update


def _group_by_shapes(members: Sequence[MemberLoop]) -> list[tuple[Hashable, list[MemberLoop]]]:
    """Group members by the shapes of their batches, of which all members usually have the same ones."""
    first = _get_update(members[0]).batches[0]
    if all(_get_update(member).batches[0] is first for member in members):
        return [(describe_shapes(first), list(members))]
    groups: dict[Hashable, list[MemberLoop]] = {}
    for member in members:
        groups.setdefault(describe_shapes(_get_update(member).batches[0]), []).append(member)
    return list(groups.items())


def _take_alone(update: Update) -> None:
    update.trainer.update_param_group(update.group, update.batches)


def _apply_gradient(update: Update, loss: Tensor) -> None:
    update.trainer.apply_gradient(update.group, update.batches, loss)
