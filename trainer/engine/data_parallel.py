"""Exact data parallel training: the same bits on any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainer.core import rng
from trainer.engine.buffer_changes import BufferChanges
from trainer.engine.callbacks import Callback
from trainer.engine.dataloader import Loader
from trainer.engine.process_group import ProcessGroup
from trainer.engine.shards import Node, ShardedBatch, find_largest_nodes, split_rows, sum_tree
from trainer.engine.state_requests import StateRequestCallback, StateRequests
from trainer.engine.strategy import Strategy, backward_weighted
from trainer.utils.errors import Interrupted, SystemFault

if TYPE_CHECKING:
    from trainer.core.task import Task
    from trainer.engine.param_group import ParamGroup
    from trainer.engine.trainer import Trainer


class DataParallel(Strategy[ShardedBatch]):
    """Computes the shards of a batch on several processes, and adds their gradients in a fixed binary tree.

    A shard has its own random numbers, a function of (seed, step, group, shard), and starts from the buffers of the
    last step; the changes that shards make to buffers, such as the statistics of batch norm, are averaged. The loss of
    a shard is divided by the number of terms of the whole batch. Nothing depends on the number of processes, if each
    of them has as many threads.

    Args:
        process_group: The processes.
        num_shards: Number of shards, a multiple of the number of processes.
        divides_optimizer: Whether each process has only a part of the states of the optimizers.
    """

    def __init__(self, process_group: ProcessGroup, num_shards: int, *, divides_optimizer: bool = False):
        super().__init__(process_group)
        self.optimizer_group = process_group if divides_optimizer and process_group.size > 1 else None
        self._requests = None if self.optimizer_group is None else StateRequests(process_group)
        assert num_shards % process_group.size == 0, "checked with the configuration"
        self.root = Node(0, num_shards)
        per_process = num_shards // process_group.size
        self._shards_by_rank = [range(first, first + per_process) for first in range(0, num_shards, per_process)]
        self._nodes_by_rank = [find_largest_nodes(self.root, shards) for shards in self._shards_by_rank]
        self._max_nodes = max(map(len, self._nodes_by_rank))

    @property
    def shards(self) -> range:
        """Shards that this process computes."""
        return self._shards_by_rank[self.process_group.rank]

    def make_callbacks(self) -> list[Callback]:
        return [] if self._requests is None else [StateRequestCallback(self._requests)]

    def request_state(self) -> None:
        if self._requests is not None:
            self._requests.request()

    def finish_exception(self, trainer: Trainer, error: BaseException) -> None:
        if self._requests is not None and isinstance(error, Interrupted):  # by all processes, at the same step
            self._requests.serve(trainer)

    def restore_model(self, task: Task) -> None:
        if self._requests is not None:
            self._requests.close()

    def start(self, trainer: Trainer) -> None:
        if self._requests is not None:
            self._requests.serve(trainer)
        self._buffers = BufferChanges(trainer.task)
        self.verify_replicas(trainer)

    def iter_epoch(self, loader: Loader, epoch: int, start: int) -> Generator[ShardedBatch, None, None]:
        order = loader.make_batch_order(epoch)[start:]
        parts_by_batch = [split_rows(index, self.root.last) for index in order]
        own_parts = [{shard: parts[shard] for shard in self.shards if len(parts[shard])} for parts in parts_by_batch]
        with closing(loader.iter_rows([rows for parts in own_parts for rows in parts.values()], epoch)) as loaded:
            for index, parts, own in zip(order, parts_by_batch, own_parts, strict=True):
                yield ShardedBatch(index, {shard: next(loaded) for shard in own}, sum(map(bool, map(len, parts))))

    def compute_gradient(self, trainer: Trainer, group: ParamGroup, batches: Sequence[ShardedBatch]) -> Tensor:
        weights = self._compute_weights(trainer.task, batches)
        self._buffers.save()
        extras: dict[int, Tensor] = {}

        def compute_shard(shard: int) -> Tensor:
            group.params.zero_grad()
            extras[shard] = self._backward_shard(trainer, group, batches, weights[:, shard], shard)
            return group.params.grad if len(self.shards) == 1 else group.params.grad.clone()

        own_nodes = self._nodes_by_rank[self.process_group.rank]
        own_sums = [sum_tree(node, compute_shard, {}) for node in own_nodes]
        own_extras = [sum_tree(node, extras.__getitem__, {}) for node in own_nodes]
        group.params.grad.copy_(self._sum_processes(own_sums))
        return self._apply_extras(self._sum_processes(own_extras), batches)

    def _apply_extras(self, extras: Tensor, batches: Sequence[ShardedBatch]) -> Tensor:
        """Change the buffers by the mean over the shards, and return the loss.

        Args:
            extras: Sum over the shards of the loss and of the changes of buffers (1 + D,).
            batches: Batches of the step.
        """
        self._buffers.apply(extras[1:] / max(batch.num_parts for batch in batches))
        return extras[0].clone()

    def _compute_weights(self, task: Task, batches: Sequence[ShardedBatch]) -> Tensor:
        """Return the share (A, S) of each shard of A batches in the terms of the loss; 0 for other processes."""
        terms = torch.zeros(len(batches), self.root.last, dtype=torch.float64, device=task.progress.device)
        for number, batch in enumerate(batches):
            for shard, part in batch.parts.items():
                terms[number, shard] = task.num_loss_terms(part)
        # Each element comes from one process, and is added to zeros only.
        total = self.process_group.all_gather(terms).sum(0).sum()
        return terms / (total + (total == 0))

    def _backward_shard(
        self,
        trainer: Trainer,
        group: ParamGroup,
        batches: Sequence[ShardedBatch],
        weights: Tensor,
        shard: int,
        before_last: Callable[[], None] | None = None,
    ) -> Tensor:
        """Add the gradient of a shard to ``group.params.grad``; return its loss and changes of buffers (1 + D,).

        Args:
            trainer: The trainer.
            group: Parameter group to update.
            batches: Batches of the step.
            weights: Weight (A,) of the loss of the shard in each of them.
            shard: The shard.
            before_last: Called before the backward pass of the last batch that has rows of this shard.
        """
        loss = group.params.grad.new_zeros(1)
        parts = [(batch.parts[shard], weights[i]) for i, batch in enumerate(batches) if shard in batch.parts]
        self._buffers.restore()
        with rng.fork_rng(self._hash_seed(trainer, group, shard), trainer.device):
            for number, (part, weight) in enumerate(parts, start=1):
                if number == len(parts) and before_last is not None:
                    before_last()
                loss += backward_weighted(trainer, group, part, weight)
        return torch.cat((loss, self._buffers.compute(loss)))

    def _hash_seed(self, trainer: Trainer, group: ParamGroup, shard: int) -> int:
        """Return the seed of the random numbers of a shard in the next update of a group."""
        number = [*trainer.param_groups].index(group.name)
        return rng.hash_seed(trainer.settings.seed, trainer.step, number, group.num_updates, shard)

    def _sum_processes(self, own_sums: Sequence[Tensor]) -> Tensor:
        """Return the sum over all shards, from the sums of the largest nodes of each process."""
        if self.process_group.size == 1:
            return own_sums[0]
        if self._max_nodes == 1:
            sums_by_rank = self.process_group.all_gather(own_sums[0])[:, None]
        else:
            padding = [torch.zeros_like(own_sums[0])] * (self._max_nodes - len(own_sums))
            sums_by_rank = self.process_group.all_gather(torch.stack([*own_sums, *padding]))
        sums = {
            node: values
            for nodes, values_by_node in zip(self._nodes_by_rank, sums_by_rank, strict=True)
            for node, values in zip(nodes, values_by_node, strict=False)
        }
        return sum_tree(self.root, _raise_missing_shard, sums)

    def verify_replicas(self, trainer: Trainer) -> None:
        """Compare the weights of all processes.

        Raises:
            SystemFault: They differ, because the processes compute differently.
        """
        checksum = compute_checksum(trainer.task.state_dict().values())
        checksums = self.process_group.all_gather_objects(int(checksum))
        different = [rank for rank, value in enumerate(checksums) if value != checksums[0]]
        if different:
            raise SystemFault(
                f"devices: at step {trainer.step} process {different[0]} has other weights than process 0; all need the"
                " same versions of torch and the same kind of processor"
            )


def compute_checksum(tensors: Iterable[Tensor]) -> Tensor:
    """Return the sum of the bits of tensors as integers, modulo 2**64, a scalar int64."""
    total = torch.zeros((), dtype=torch.int64)
    for tensor in tensors:
        values = tensor.detach().reshape(-1).view(torch.uint8)
        padded = torch.nn.functional.pad(values, (0, -len(values) % 8)).view(torch.int64)
        total = 31 * total + padded.sum().cpu()
    return total


def _raise_missing_shard(shard: int) -> Tensor:
    raise AssertionError(f"no process has computed shard {shard}")
