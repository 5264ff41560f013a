"""Data parallel training with gradients summed during the backward pass: faster, but not the same bits everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING

from torch import Tensor

from trainer.engine.data_parallel import DataParallel
from trainer.engine.process_group import Pending, ProcessGroup, ProcessGroupError
from trainer.engine.shards import ShardedBatch
from trainer.optim.flat_params import FlatParameters

if TYPE_CHECKING:
    from trainer.engine.param_group import ParamGroup
    from trainer.engine.trainer import Trainer

BUCKET_BYTES = 1 << 22
"""Bytes of the gradient that one exchange sums up."""


class OverlappedDataParallel(DataParallel):
    """One shard per process; parts of the gradient are summed over the processes while the backward pass goes on.

    The order of the sums is that of the library which communicates, so it depends on the number of processes.

    Args:
        process_group: The processes.
        divides_optimizer: Whether each process has only a part of the states of the optimizers.

    References:
        Li et al. 2020, PyTorch Distributed: Experiences on Accelerating Data Parallel Training, section 3.2.
    """

    def __init__(self, process_group: ProcessGroup, *, divides_optimizer: bool = False):
        super().__init__(process_group, process_group.size, divides_optimizer=divides_optimizer)

    def start(self, trainer: Trainer) -> None:
        super().start(trainer)
        self._reducers = {
            name: BucketReducer(group.params, self.process_group) for name, group in trainer.param_groups.items()
        }

    def compute_gradient(self, trainer: Trainer, group: ParamGroup, batches: Sequence[ShardedBatch]) -> Tensor:
        reducer, shard = self._reducers[group.name], self.process_group.rank
        with self._start_step(trainer.task, batches) as weights:
            group.params.zero_grad()
            try:
                extras = self._backward_shard(trainer, group, batches, weights, shard, reducer.start)
            except Exception:
                with suppress(ProcessGroupError):  # the first error is reported
                    reducer.finish()
                raise
            reducer.finish()
            self.process_group.start_sum(extras).wait()
        return self._apply_extras(extras, batches)


class BucketReducer:
    """Sums the buckets of a flat gradient over the processes, each as soon as all of its parameters are complete.

    Buckets are exchanged in one order, because the processes may not use the same parameters in a step.

    Args:
        params: Parameters of the group.
        process_group: The processes.
    """

    def __init__(self, params: FlatParameters, process_group: ProcessGroup):
        self.process_group = process_group
        bucket_size = max(1, BUCKET_BYTES // params.grad.element_size())
        numbers = [params.get_slice(range(i, i + 1)).start // bucket_size for i in range(len(params.parameters))]
        # The backward pass completes the last parameters first.
        buckets = [[*indices] for _, indices in groupby(range(len(numbers)), numbers.__getitem__)][::-1]
        self._views = [params.grad[params.get_slice(range(bucket[0], bucket[-1] + 1))] for bucket in buckets]
        self._sizes = [len(bucket) for bucket in buckets]
        self._missing: list[int] = []
        self._pending: list[Pending] = []
        for number, bucket in enumerate(buckets):
            for index in bucket:
                params.parameters[index].register_post_accumulate_grad_hook(self._make_hook(number))

    def _make_hook(self, bucket: int) -> Callable[[Tensor], None]:
        def complete(_: Tensor) -> None:
            if self._missing:  # not in a backward pass whose gradient is accumulated further
                self._missing[bucket] -= 1
                self._sum_complete_buckets()

        return complete

    def start(self) -> None:
        """Sum the buckets during the next backward pass."""
        self._missing = [*self._sizes]
        self._pending = []

    def _sum_complete_buckets(self) -> None:
        while len(self._pending) < len(self._views) and self._missing[len(self._pending)] == 0:
            self._sum_next_bucket()

    def _sum_next_bucket(self) -> None:
        self._pending.append(self.process_group.start_sum(self._views[len(self._pending)]))

    def finish(self) -> None:
        """Sum the other buckets, whose parameters were not all used, and wait for all of them."""
        while len(self._pending) < len(self._views):
            self._sum_next_bucket()
        for pending in self._pending:
            pending.wait()
        self._missing, self._pending = [], []
