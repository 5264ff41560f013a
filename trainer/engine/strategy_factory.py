"""Selection of the strategy of a run."""

from __future__ import annotations

from typing import Any

from trainer.config.schema import Settings
from trainer.engine.data_parallel import DataParallel
from trainer.engine.overlapped_data_parallel import OverlappedDataParallel
from trainer.engine.process_group import ProcessGroup
from trainer.engine.strategy import SingleDevice, Strategy


def make_strategy(settings: Settings, process_group: ProcessGroup) -> Strategy[Any]:
    """Return the strategy for a number of processes and shards.

    Args:
        settings: Global keys of the configuration: ``shards``, ``exact``, ``strategy`` and ``shard_optimizer``.
        process_group: Processes that train together.
    """
    num_shards = settings.shards or process_group.size
    if num_shards == 1:
        return SingleDevice()
    if settings.strategy == "fsdp" and process_group.size > 1:
        from trainer.engine.fully_sharded import FullySharded  # here, because FSDP takes as long to import as torch

        return FullySharded(process_group, num_shards)
    divides = settings.shard_optimizer
    if settings.exact:
        return DataParallel(process_group, num_shards, divides_optimizer=divides)
    return OverlappedDataParallel(process_group, divides_optimizer=divides)
