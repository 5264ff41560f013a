"""Process group of torch.distributed: gloo on the CPU, NCCL on CUDA devices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from trainer.engine.process_group import Pending, ProcessGroup, ProcessGroupError

_CONNECTION = re.compile("gloo|NCCL|Connection|Timed out waiting|Broken pipe")
"""Words of the errors of an exchange, among those that a model may raise."""
_TIMEOUT = re.compile(r"Timed out waiting \d+ms for (recv|send)")
"""Error of an exchange with a process that has joined, but does not respond."""
_all_gather_into = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
"""Exchange into one tensor, by its name in the installed torch."""


class TorchProcessGroup(ProcessGroup):
    """Processes that torch.distributed connects; the constructor returns once all of them have joined.

    Args:
        rank: Number of this process, from 0.
        size: Number of processes.
        local_rank: Number of this process on its machine, from 0.
        local_size: Number of processes on its machine.
        store: Store by which the processes find each other; None for the environment variables of torchrun.
        timeout: Seconds to wait for another process.

    Raises:
        ProcessGroupError: Not all processes join in time.
    """

    def __init__(
        self, rank: int, size: int, local_rank: int, local_size: int, store: dist.Store | None, timeout: float
    ):
        self.rank, self.size = rank, size
        self.local_rank, self.local_size = local_rank, local_size
        # Objects and control values stay on the CPU, so that a step does not wait for the accelerator.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        init_method = "env://" if store is None else None
        limit = timedelta(seconds=timeout)
        with explain_failure():
            dist.init_process_group(backend, init_method, limit, world_size=size, rank=rank, store=store)

    def start_all_gather(self, values: Tensor) -> Callable[[], Tensor]:
        gathered = values.new_empty(self.size, *values.shape)
        with explain_failure():
            work = _all_gather_into(gathered.view(-1), values.contiguous().view(-1), async_op=True)

        def wait() -> Tensor:
            with explain_failure():
                work.wait()
            return gathered

        return wait

    def all_to_all(self, values: Tensor) -> Tensor:
        received = torch.empty_like(values, memory_format=torch.contiguous_format)
        with explain_failure():
            dist.all_to_all_single(received, values.contiguous())
        return received

    def gather(self, values: Tensor) -> Tensor | None:
        gathered = values.new_empty(self.size, *values.shape) if self.is_main else None
        with explain_failure():
            dist.gather(values.contiguous(), None if gathered is None else list(gathered.unbind()))
        return gathered

    def broadcast(self, values: Tensor) -> None:
        dense = values.contiguous()
        with explain_failure():
            dist.broadcast(dense, src=0)
        if dense is not values:
            values.copy_(dense)

    def start_sum(self, values: Tensor) -> Pending:
        with explain_failure():
            return _PendingWork(dist.all_reduce(values, async_op=True))

    def all_gather_objects(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        with explain_failure():
            dist.all_gather_object(values, value)
        return values

    def find_maximum(self, values: Sequence[int]) -> list[int]:
        maximum = torch.tensor(values, dtype=torch.int64)
        with explain_failure():
            dist.all_reduce(maximum, dist.ReduceOp.MAX)
        return [int(value) for value in maximum]

    def broadcast_object(self, value: Any) -> Any:
        values = [value]
        with explain_failure():
            dist.broadcast_object_list(values, src=0)
        return values[0]

    def wait_for_main(self) -> None:
        with suppress(ProcessGroupError):  # its connection is closed
            self.broadcast_object(None)

    def close(self) -> None:
        dist.destroy_process_group()


class _PendingWork:
    """Exchange of torch.distributed whose failure is explained."""

    def __init__(self, work: Any):
        self._work = work

    def wait(self) -> None:
        with explain_failure():
            self._work.wait()


def is_connection_error(error: RuntimeError) -> bool:
    """Return whether an error of torch is about the connection to another process."""
    return isinstance(error, dist.DistError) or bool(_CONNECTION.search(str(error)))


@contextmanager
def explain_failure(*, is_exchange: bool = True) -> Iterator[None]:
    """Convert the failure of an exchange: torch raises a plain RuntimeError or one of its subclasses.

    Args:
        is_exchange: Whether the block does nothing but exchange; False converts only errors that name a connection.

    Raises:
        ProcessGroupError: The exchange has failed.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_exchange and not is_connection_error(error):
            raise
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        reason = re.sub(r"^\[.*?\] |\. .*", "", first_line)  # without source file and advice of torch
        if _TIMEOUT.search(reason):
            raise ProcessGroupError(f"{_describe_other_process()} has not responded within process_timeout") from error
        raise ProcessGroupError(f"{_describe_other_process()} has ended or does not respond ({reason})") from error


def _describe_other_process() -> str:
    """Describe the process that an error of torch is about: its number is known if there is only one other."""
    is_known = dist.is_initialized() and dist.get_world_size() == 2
    return f"process {1 - dist.get_rank()}" if is_known else "another process"
