"""Process groups: the processes that train one run together, and what they exchange."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from trainer.utils.errors import SystemFault


class ProcessGroupError(SystemFault):
    """Another process has ended, or does not respond."""


class Pending(Protocol):
    """An exchange that is under way."""

    def wait(self) -> object:
        """Wait until it is complete."""


class _Done:
    """An exchange that needs no communication."""

    def wait(self) -> None:
        return


class ProcessGroup(ABC):
    """Base class of process groups.

    Every method is collective: all processes call the same ones in the same order, or a ProcessGroupError is raised.

    Attributes:
        rank: Number of this process, from 0; process 0 writes the files of the run.
        size: Number of processes.
        local_rank: Number of this process on its machine, from 0, which is that of its accelerator.
        local_size: Number of processes on its machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int

    @property
    def is_main(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def all_gather(self, values: Tensor) -> Tensor:
        """Return the tensors (...) of all processes, which have one shape, stacked in their order (W, ...)."""
        return self.start_all_gather(values)()

    @abstractmethod
    def start_all_gather(self, values: Tensor) -> Callable[[], Tensor]:
        """Start an ``all_gather`` while this process goes on; return a function that waits for its result."""

    @abstractmethod
    def all_to_all(self, values: Tensor) -> Tensor:
        """Send ``values[r]`` (W, ...) to each process r, and return the tensors received, in their order (W, ...)."""

    @abstractmethod
    def gather(self, values: Tensor) -> Tensor | None:
        """Return the tensors (...) of all processes (W, ...) in process 0; None in the others."""

    @abstractmethod
    def broadcast(self, values: Tensor) -> None:
        """Replace a tensor by that of process 0."""

    @abstractmethod
    def start_sum(self, values: Tensor) -> Pending:
        """Start to replace a tensor by its sum over the processes, while this process goes on.

        Args:
            values: The tensor, which is complete after ``wait`` of the result.
        """

    @abstractmethod
    def all_gather_objects(self, value: Any) -> list[Any]:
        """Return the values of all processes in their order; tensors must be on the CPU."""

    @abstractmethod
    def find_maximum(self, values: Sequence[int]) -> list[int]:
        """Return the maximum of each of several numbers over the processes."""

    @abstractmethod
    def broadcast_object(self, value: Any) -> Any:
        """Return the value of process 0; other processes pass anything."""

    def broadcast_state(self, state: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return the state of a trainer in process 0, with tensors on the CPU; other processes pass anything."""
        if self.size == 1:
            return None if state is None else dict(state)
        buffer = io.BytesIO()
        torch.save(state if self.is_main else None, buffer)  # pickle does not know all types of tensors
        received = io.BytesIO(self.broadcast_object(buffer.getvalue()))
        return torch.load(received, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]

    @abstractmethod
    def wait_for_main(self) -> None:
        """Wait until process 0 has left: a process that leaves earlier may cut off the last exchange."""

    @abstractmethod
    def close(self) -> None:
        """Leave the group; nothing can be exchanged afterwards."""


class SingleProcess(ProcessGroup):
    """A group of one process, which needs no communication."""

    rank, size, local_rank, local_size = 0, 1, 0, 1

    def start_all_gather(self, values: Tensor) -> Callable[[], Tensor]:
        return lambda: values[None]

    def all_to_all(self, values: Tensor) -> Tensor:
        return values

    def gather(self, values: Tensor) -> Tensor:
        return values[None]

    def broadcast(self, values: Tensor) -> None:
        return

    def start_sum(self, values: Tensor) -> Pending:
        return _Done()

    def all_gather_objects(self, value: Any) -> list[Any]:
        return [value]

    def find_maximum(self, values: Sequence[int]) -> list[int]:
        return list(values)

    def broadcast_object(self, value: Any) -> Any:
        return value

    def wait_for_main(self) -> None:
        return

    def close(self) -> None:
        return
