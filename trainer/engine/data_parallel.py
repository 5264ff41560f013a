"""Exact data parallel training: the same bits on any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainer.core import rng
from trainer.engine.buffer_changes import BufferChanges
from trainer.engine.callbacks import Callback
from trainer.engine.checksum import compute_checksum
from trainer.engine.dataloader import Loader
from trainer.engine.process_group import ProcessGroup, ProcessGroupError
from trainer.engine.shard_sum import ShardSum
from trainer.engine.shards import ShardedBatch, split_rows
from trainer.engine.state_requests import StateRequestCallback, StateRequests
from trainer.engine.strategy import Strategy, backward, compute_loss
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
        self.num_shards = num_shards
        self._shard_sum = ShardSum(process_group, num_shards)

    @property
    def shards(self) -> range:
        """Shards that this process computes."""
        return self._shard_sum.shards

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
        parts_by_batch = [split_rows(index, self.num_shards) for index in order]
        own_parts = [{shard: parts[shard] for shard in self.shards if len(parts[shard])} for parts in parts_by_batch]
        with closing(loader.iter_rows([rows for parts in own_parts for rows in parts.values()], epoch)) as loaded:
            for index, parts, own in zip(order, parts_by_batch, own_parts, strict=True):
                yield ShardedBatch(index, {shard: next(loaded) for shard in own}, sum(map(bool, map(len, parts))))

    def compute_gradient(self, trainer: Trainer, group: ParamGroup, batches: Sequence[ShardedBatch]) -> Tensor:
        with self._start_step(trainer.task, batches) as weights:

            def compute_shard(shard: int) -> tuple[Tensor, Tensor]:
                group.params.zero_grad()
                extras = self._backward_shard(trainer, group, batches, weights, shard)
                return group.params.grad, extras

            total = self._shard_sum.sum_shards(compute_shard)
        gradient, extras = total.split([len(group.params.grad), len(total) - len(group.params.grad)])
        group.params.grad.copy_(gradient)
        return self._apply_extras(extras, batches)

    def _apply_extras(self, extras: Tensor, batches: Sequence[ShardedBatch]) -> Tensor:
        """Change the buffers by the mean over the shards, and return the loss.

        Args:
            extras: Sum over the shards of the loss and of the changes of buffers (1 + D,).
            batches: Batches of the step.
        """
        self._buffers.apply(extras[1:] / max(batch.num_parts for batch in batches))
        return extras[0].clone()

    @contextmanager
    def _start_step(self, task: Task, batches: Sequence[ShardedBatch]) -> Iterator[Callable[[], Tensor]]:
        """Save the buffers, and start to count the terms of the loss; yield the result of ``_start_weights``.

        If the block raises, the buffers are restored and the exchange is completed, because the caller may go on.
        """
        self._buffers.save()
        weights = self._start_weights(task, batches)
        try:
            yield weights
        except Exception as error:
            try:
                self._buffers.restore()
                weights()
            except (ProcessGroupError, RuntimeError) as second_error:
                error.add_note(f"the step could not be undone: {second_error}")
            raise

    def _start_weights(self, task: Task, batches: Sequence[ShardedBatch]) -> Callable[[], Tensor]:
        """Start to count the terms of the loss of A batches, which the first forward pass does not wait for.

        Returns:
            Function that returns the share (A, S) of each shard in these terms; 0 for those of other processes.
        """
        terms = torch.zeros(len(batches), self.num_shards, dtype=torch.float64, device=task.progress.device)
        for number, batch in enumerate(batches):
            for shard, part in batch.parts.items():
                terms[number, shard] = task.num_loss_terms(part)
        gather_terms = self.process_group.start_all_gather(terms)

        @cache
        def compute_weights() -> Tensor:
            # Each element comes from one process, and is added to zeros only.
            total = gather_terms().sum(0).sum()
            return terms / (total + (total == 0))

        return compute_weights

    def _backward_shard(
        self,
        trainer: Trainer,
        group: ParamGroup,
        batches: Sequence[ShardedBatch],
        weights: Callable[[], Tensor],
        shard: int,
        before_last: Callable[[], None] | None = None,
    ) -> Tensor:
        """Add the gradient of a shard to ``group.params.grad``; return its loss and changes of buffers (1 + D,).

        Args:
            trainer: The trainer.
            group: Parameter group to update.
            batches: Batches of the step.
            weights: Returns the weights (A, S) of the losses of the shards in them.
            shard: The shard.
            before_last: Called before the backward pass of the last batch that has rows of this shard.
        """
        loss = group.params.grad.new_zeros(1)
        parts = [(i, batch.parts[shard]) for i, batch in enumerate(batches) if shard in batch.parts]
        self._buffers.restore()
        with rng.fork_rng(self._hash_seed(trainer, group, shard), trainer.device):
            for number, (i, part) in enumerate(parts, start=1):
                part_loss = compute_loss(trainer, group, part)
                if number == len(parts) and before_last is not None:
                    before_last()
                loss += backward(trainer, group, part_loss * weights()[i, shard])
        weights()  # every exchange is complete after a step, also where no part has rows
        return torch.cat((loss, self._buffers.compute(loss)))

    def _hash_seed(self, trainer: Trainer, group: ParamGroup, shard: int) -> int:
        """Return the seed of the random numbers of a shard in the next update of a group."""
        number = [*trainer.param_groups].index(group.name)
        return rng.hash_seed(trainer.settings.seed, trainer.step, number, group.num_updates, shard)

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
