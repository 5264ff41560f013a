"""Data parallel training of models whose parameters are sharded over the processes."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

from trainer.engine.data_parallel import DataParallel
from trainer.engine.dataloader import Loader
from trainer.engine.model_sharding import ShardedModel
from trainer.engine.process_group import ProcessGroup, SingleProcess
from trainer.engine.shards import ShardedBatch, split_rows
from trainer.engine.state_requests import StateRequests
from trainer.engine.torch_process_group import explain_failure
from trainer.optim.sharded_params import ShardedParameters

if TYPE_CHECKING:
    from trainer.core.task import Task
    from trainer.engine.best_checkpoint import BestCheckpoint
    from trainer.engine.param_group import ParamGroup
    from trainer.engine.trainer import Trainer


class FullySharded(DataParallel):
    """Keeps on each process only its shard of the parameters, gradients, averages and optimizer state.

    Losses equal those of ``DataParallel`` with as many parts of a batch, up to rounding, because torch adds gradients
    in another order.

    Args:
        process_group: The processes.
        num_shards: Number of parts of a batch, a multiple of the number of processes.
    """

    params_class = ShardedParameters
    has_full_model = False

    def __init__(self, process_group: ProcessGroup, num_shards: int):
        super().__init__(process_group, num_shards)
        # All processes gather a block together: each evaluates every batch, unless they call the model equally often.
        self.evaluation_group = SingleProcess()
        self.gradient_group = process_group
        self._requests = StateRequests(process_group)

    def shard_model(self, task: Task) -> None:
        mesh = init_device_mesh(task.progress.device.type, (self.process_group.size,))
        self._sharded_model = ShardedModel(task, mesh)
        if task.scores_outputs:
            self.evaluation_group = self.process_group

    def restore_model(self, task: Task) -> None:
        super().restore_model(task)
        with explain_failure(is_exchange=False):
            self._sharded_model.restore()
        self.evaluation_group = self.process_group

    def start(self, trainer: Trainer) -> None:
        super().start(trainer)
        best = trainer.best
        if best.weights is not None and not self.process_group.is_main:  # of a resumed run, which all have read
            names = {name for name, _ in trainer.task.named_parameters(remove_duplicate=False)}
            best.weights = {name: value.to("meta") if name in names else value for name, value in best.weights.items()}

    def load_best(self, best: BestCheckpoint, task: Task) -> None:
        assert best.weights is not None, "no validation has had a finite score"
        known = {name: value for name, value in best.weights.items() if not value.is_meta}
        task.load_state_dict(task.state_dict() | known)
        task.decisions = dict(best.decisions)
        for parameter in task.parameters():  # only process 0 has their values
            self.process_group.broadcast(parameter.data)

    def iter_epoch(self, loader: Loader, epoch: int, start: int) -> Generator[ShardedBatch, None, None]:
        order = loader.make_batch_order(epoch)[start:]
        parts_by_batch = [split_rows(index, self.num_shards) for index in order]
        # A part without rows gets those of the first one, because all processes take part in every computation.
        own_rows = [parts[i] if len(parts[i]) else parts[0] for parts in parts_by_batch for i in self.shards]
        with closing(loader.iter_rows(own_rows, epoch)) as loaded:
            for index, parts in zip(order, parts_by_batch, strict=True):
                own = {shard: next(loaded) for shard in self.shards}
                yield ShardedBatch(index, own, sum(map(bool, map(len, parts))))

    def compute_gradient(self, trainer: Trainer, group: ParamGroup, batches: Sequence[ShardedBatch]) -> Tensor:
        own_batches = [_select_parts(batch, range(batch.num_parts)) for batch in batches]
        other_batches = [_select_parts(batch, range(batch.num_parts, self.num_shards)) for batch in batches]
        with (
            self._start_step(trainer.task, own_batches) as compute_weights,
            explain_failure(is_exchange=False),
            _ignore_views(),
        ):
            weights = compute_weights()
            group.params.zero_grad()
            extras = group.params.grad.new_zeros(1 + self._buffers.numel)
            for shard in self.shards:
                extras += self._backward_shard(trainer, group, own_batches, lambda: weights, shard)
                self._backward_shard(trainer, group, other_batches, partial(torch.zeros_like, weights), shard)
        self.process_group.start_sum(extras).wait()
        return self._apply_extras(extras, batches)

    def verify_replicas(self, trainer: Trainer) -> None:
        """Do nothing: no two processes have the same weights."""


def _select_parts(batch: ShardedBatch, shards: range) -> ShardedBatch:
    return replace(batch, parts={shard: part for shard, part in batch.parts.items() if shard in shards})


@contextmanager
def _ignore_views() -> Iterator[None]:
    """Ignore the warning of torch that a view, such as the keys of a block, must not be changed in place."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
        yield
