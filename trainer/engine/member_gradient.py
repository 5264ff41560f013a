"""Gradients of several members by one model with a leading member dimension."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn

from trainer.core.batch import Batch
from trainer.core.task import Task
from trainer.engine.member_dropout import MemberDropout
from trainer.engine.member_strategy import MemberMatrix, MemberStrategy
from trainer.engine.update import Update
from trainer.optim.flat_params import FlatParameters

STACKED, SHARED = 0, None
"""Dimension of the members in a tensor, as ``torch.func.vmap`` expects it."""


class TaskLoss(nn.Module):
    """Module whose output is the loss of a task, so that its parameters can be replaced for one call.

    Args:
        task: The task.
    """

    def __init__(self, task: Task):
        super().__init__()
        self.task = task

    def forward(self, batch: Batch, group: str) -> Tensor:
        return self.task.loss(batch, group)


class MemberGradient:
    """Losses and gradients of members whose tasks differ only in their numbers.

    Buffers become rows of stacked tensors, as the parameters are, so that a loss that changes them in place, as batch
    norm does, changes those of its member.

    Args:
        updates: First update of each member.
        rows: Row of each of them in the matrix, in ascending order.
        matrix: Parameters of all members.
    """

    def __init__(self, updates: Sequence[Update], rows: Sequence[int], matrix: MemberMatrix):
        self._matrix = matrix
        tasks = [update.trainer.task for update in updates]
        params = updates[0].group.params
        self._task_loss = TaskLoss(tasks[0])
        trained = {id(parameter): f"task.{name}" for name, parameter in tasks[0].named_parameters()}
        self._names = [trained[id(parameter)] for parameter in params.parameters]
        self._values = split_rows(matrix.data, params)
        self._gradients = split_rows(matrix.grad, params)

        self._constants = _stack_constants(
            tasks, rows, matrix.num_members, {name.removeprefix("task.") for name in self._names}
        )

    def compute(self, updates: Sequence[Update], rows: Sequence[int], rates: Sequence[Sequence[float]]) -> Tensor:
        """Compute the gradients of some members into their rows of the matrix.

        Args:
            updates: Update of each of these members, with batches of the same shapes.
            rows: Row of each of them, in ascending order.
            rates: Probability of each call of dropout, for each of them.

        Returns:
            Loss of each of them ``(M,)``.

        Raises:
            Exception: The loss has no batching rule, draws random numbers, or depends on values of its tensors.
        """
        group = updates[0].group.name
        is_all = len(rows) == self._matrix.num_members
        index = torch.tensor(rows, device=self._matrix.data.device)

        def select(value: Tensor) -> Tensor:
            return value if is_all else value.index_select(0, index)

        leaves = [select(value).detach().requires_grad_() for value in self._values]
        # Copies, so that buffers stay as they are if the computation fails after the loss has changed them.
        constants = {
            name: value if dim is SHARED else value.index_select(0, index)
            for name, (value, dim) in self._constants.items()
        }
        tensors, dims = join_batches([update.batches[0] for update in updates])

        has_dropout = any(map(any, rates))
        strategies = [cast(MemberStrategy, update.trainer.strategy) for update in updates] if has_dropout else []
        dropout = MemberDropout([strategy.make_generator() for strategy in strategies], rates)

        def compute_loss(
            values: list[Tensor], fixed: dict[str, Tensor], inputs: dict[str, Tensor], number: Tensor
        ) -> Tensor:
            named = dict(zip(self._names, values, strict=True)) | fixed
            dropout.number = number
            with dropout if has_dropout else nullcontext():
                loss: Tensor = torch.func.functional_call(self._task_loss, named, (split_tensors(inputs), group))
            return loss

        in_dims = (STACKED, {name: dim for name, (_, dim) in self._constants.items()}, dims, STACKED)
        losses = torch.vmap(compute_loss, in_dims, randomness="error")(leaves, constants, tensors, index)
        gradients = torch.autograd.grad(losses.sum(), leaves, allow_unused=True)
        for strategy, generator in zip(strategies, dropout.generators, strict=True):
            strategy.store_generator(generator)
        for own, gradient in zip(self._gradients, gradients, strict=True):
            value = torch.zeros_like(select(own)) if gradient is None else gradient
            own.copy_(value) if is_all else own.index_copy_(0, index, value)
        for name, (value, dim) in self._constants.items():
            if dim is not SHARED:
                value.index_copy_(0, index, constants[name])
        return losses.detach()


def split_rows(matrix: Tensor, params: FlatParameters) -> list[Tensor]:
    """Split a matrix with one vector of parameters per row into views with the shapes of the parameters.

    Args:
        matrix: The vectors ``(M, P)``.
        params: Parameters of one of the rows.

    Returns:
        The values ``(M, ...)`` of each parameter.
    """
    offsets = [params.get_slice(range(i, i + 1)).start for i in range(len(params.parameters))]
    return [
        matrix.as_strided(
            (len(matrix), *parameter.shape), (matrix.stride(0), *parameter.stride()), matrix.storage_offset() + offset
        )
        for parameter, offset in zip(params.parameters, offsets, strict=True)
    ]


def _stack_constants(
    tasks: Sequence[Task], rows: Sequence[int], num_rows: int, trained: set[str]
) -> dict[str, tuple[Tensor, int | None]]:
    """Return buffers and frozen parameters by name in the loss, stacked unless they are equal and never change."""
    constants: dict[str, tuple[Tensor, int | None]] = {}
    frozen = [{name: p.detach() for name, p in task.named_parameters() if name not in trained} for task in tasks]
    buffers = [dict(task.named_buffers()) for task in tasks]
    index = torch.tensor(rows, device=tasks[0].progress.device)
    for name, first in (frozen[0] | buffers[0]).items():
        if name in frozen[0] and all(torch.equal(first, own[name]) for own in frozen[1:]):
            constants[f"task.{name}"] = first, SHARED
            continue
        values = [own[name] for own in (frozen if name in frozen[0] else buffers)]
        stacked = first.new_zeros((num_rows, *first.shape)).index_copy_(0, index, torch.stack(values))
        constants[f"task.{name}"] = stacked, STACKED
        if name in buffers[0]:
            for own, row in zip(buffers, rows, strict=True):
                own[name].data = stacked[row]
    return constants


def join_batches(batches: Sequence[Batch]) -> tuple[dict[str, Tensor], dict[str, int | None]]:
    """Join the batches of members: tensors that all of them have in common stay as they are, others are stacked.

    Args:
        batches: Batches with the same names and shapes.

    Returns:
        The tensors by name, and the dimension of the members in each.
    """
    if all(batch is batches[0] for batch in batches):
        tensors = _list_tensors(batches[0])
        return tensors, dict.fromkeys(tensors, SHARED)
    all_tensors = [_list_tensors(batch) for batch in batches]
    joined: dict[str, Tensor] = {}
    dims: dict[str, int | None] = {}
    for name, first in all_tensors[0].items():
        is_shared = all(_is_same(first, tensors[name]) for tensors in all_tensors)
        joined[name] = first if is_shared else torch.stack([tensors[name] for tensors in all_tensors])
        dims[name] = SHARED if is_shared else STACKED
    return joined, dims


def split_tensors(tensors: Mapping[str, Tensor]) -> Batch:
    """Return the batch of the tensors of ``join_batches``."""
    inputs = {name.removeprefix("inputs."): value for name, value in tensors.items() if name.startswith("inputs.")}
    return Batch(inputs, tensors.get("target"), tensors["index"], tensors.get("output_index"))


def describe_shapes(batch: Batch) -> Hashable:
    """Return what batches must have in common to be joined: names, shapes and types of their tensors."""
    return tuple((name, value.shape, value.dtype) for name, value in _list_tensors(batch).items())


def _list_tensors(batch: Batch) -> dict[str, Tensor]:
    tensors = {f"inputs.{name}": value for name, value in batch.inputs.items()}
    others = {"target": batch.target, "index": batch.index, "output_index": batch.output_index}
    return tensors | {name: value for name, value in others.items() if value is not None}


def _is_same(first: Tensor, second: Tensor) -> bool:
    if first is second:
        return True
    if first.layout != torch.strided or second.layout != torch.strided:
        return False
    return first.data_ptr() == second.data_ptr() and first.shape == second.shape and first.stride() == second.stride()
