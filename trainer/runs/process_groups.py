"""Process groups of runs: the processes that train together, started by this one or by torchrun."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist

from trainer.config import parallel_keys
from trainer.config.run_config import Config
from trainer.engine.process_group import ProcessGroup, ProcessGroupError, SingleProcess
from trainer.engine.torch_process_group import TorchProcessGroup, is_connection_error
from trainer.runs import process_store
from trainer.runs.resume import share_state
from trainer.runs.run_context import resume_command
from trainer.runs.worker_processes import END_SECONDS, NOTICE_SECONDS, Worker, WorkerWatch, start_worker
from trainer.utils.errors import ConfigError, SystemFault
from trainer.utils.signals import StopFlag

INTERFACE_VARIABLE = "GLOO_SOCKET_IFNAME"
"""Environment variable by which gloo chooses its network."""
START_SECONDS = 120.0
"""Minimum seconds that workers have to start, which takes longer than an exchange."""
DEFAULT_TIMEOUT = 1800.0
"""Seconds to wait for a process that torchrun has started, and which has no configuration."""


@contextmanager
def open_process_group(
    config: Config, path: Path, state: Mapping[str, Any] | None, flag: StopFlag, *, is_nested: bool = False
) -> Iterator[ProcessGroup]:
    """Connect the processes of a run within the block; this one has number 0.

    The others are started here, or by torchrun. They receive what they need to train with this one, and write nothing.

    Args:
        config: Configuration of the run.
        path: The run directory, which every process can read.
        state: Last state of the run to resume; None for a new run.
        flag: Flag that records signals; a second one ends this process at once.
        is_nested: Whether the run is part of another one, whose other processes wait for it.

    Raises:
        ConfigError: The program is part of another process group.
        SystemFault: Another process has failed, or does not respond.
    """
    size = 1 if is_nested else parallel_keys.count_processes(config.tree)
    if size == 1:
        yield SingleProcess()
        return
    if dist.is_initialized():
        raise ConfigError("devices: this program has joined a process group of torch.distributed; set devices=1")
    timeout = config.settings.process_timeout
    with _run_workers(size, timeout, flag) as (watch, store):
        try:
            if store is not None:
                watch.wait_for_start(lambda: store.check(list_ready_keys(size)), max(timeout, START_SECONDS))
            group = join_process_group(0, size, store, timeout)
            try:
                group.broadcast_object((config, path))
                share_state(config, path, state, group)
                state = None  # this frame lives as long as the run
                yield group
            finally:
                if store is not None:  # else release_launched_workers does so
                    group.close()
        except (ProcessGroupError, RuntimeError) as error:
            # Layers of a sharded model exchange tensors, too, and raise errors of torch.
            if isinstance(error, RuntimeError) and not is_connection_error(error):
                raise
            failed = watch.find_failure(NOTICE_SECONDS)
            reason = str(error) if failed is None else failed.describe_failure()
            raise SystemFault(f"{reason}\nresume with: {resume_command(config, path)}") from error


@contextmanager
def _run_workers(size: int, timeout: float, flag: StopFlag) -> Iterator[tuple[WorkerWatch, dist.Store | None]]:
    """Start the other processes and end them after the block, unless torchrun has started them.

    Args:
        size: Number of processes.
        timeout: Seconds to wait for another process.
        flag: Flag that records signals.
    """
    workers: list[Worker] = []
    if parallel_keys.count_launched_processes() > 1:
        yield WorkerWatch(workers, None), None
        return
    with process_store.create_store_dir() as folder, flag.remove_on_exit(folder):
        store_path = folder / "store"
        try:
            for rank in range(1, size):
                workers.append(start_worker(rank, size, store_path, timeout))
            with WorkerWatch(workers, folder) as watch:
                yield watch, dist.FileStore(str(store_path), size)
        except BaseException:
            for worker in workers:
                worker.end(0)
            raise
        for worker in workers:
            worker.end(END_SECONDS)


def list_ready_keys(size: int) -> list[str]:
    """Return the keys that the workers set in the store once they have started."""
    return [f"process {rank} is ready" for rank in range(1, size)]


def join_process_group(rank: int, size: int, store: dist.Store | None, timeout: float) -> ProcessGroup:
    """Connect this process with the others of a run.

    Args:
        rank: Number of this process.
        size: Number of processes.
        store: Store by which they find each other on one machine; None for the variables of torchrun.
        timeout: Seconds to wait for another process.

    Raises:
        ProcessGroupError: Not all processes join in time.
    """
    if store is None:
        local_rank, local_size = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
        return TorchProcessGroup(rank, size, local_rank, local_size, None, timeout)
    if rank:
        store.set(list_ready_keys(size)[rank - 1], "")
    with _select_loopback():
        return TorchProcessGroup(rank, size, rank, size, store, timeout)


@contextmanager
def _select_loopback() -> Iterator[None]:
    """Let gloo use the loopback device within the block: processes on one machine need no other network."""
    before = os.environ.get(INTERFACE_VARIABLE)
    if sys.platform == "linux":
        os.environ[INTERFACE_VARIABLE] = "lo"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(INTERFACE_VARIABLE, None)
        else:
            os.environ[INTERFACE_VARIABLE] = before


def release_launched_workers() -> None:
    """Let the processes that torchrun has started end after a command, also after one that has trained nothing."""
    if not dist.is_initialized():
        group = join_process_group(0, parallel_keys.count_launched_processes(), None, DEFAULT_TIMEOUT)
        group.broadcast_object(None)
    dist.destroy_process_group()
