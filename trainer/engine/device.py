"""Selection of the device and the number of threads; memory settings."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn

from trainer.config.schema import Device
from trainer.core.batch import Batch
from trainer.core.task import Task
from trainer.core.types import is_valid_value
from trainer.engine.process_group import ProcessGroup
from trainer.utils.cpu import count_cores
from trainer.utils.errors import SystemFault

log = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of ``mallopt`` in glibc's malloc.h."""
NEVER_TRIM, MMAP_THRESHOLD_BYTES, MAX_MMAP_COUNT = 2**31 - 1, 128 * 1024, 65536
MULTITHREAD_MIN_MACS = 2e8
"""Multiply-accumulate operations of a forward pass above which several threads are faster than one."""


def select_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` selects the best available one and never fails.

    Raises:
        SystemFault: This machine or this build of torch does not have the device.
    """
    assert is_valid_value(name, Device), f"{name!r} is not a device: the configuration was not checked"
    if name == "auto":
        has_mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not count:
            raise SystemFault(f"device={name}: this torch ({torch.__version__}) finds no CUDA device; use cpu or auto")
        if (device.index or 0) >= count:
            raise SystemFault(f"device={name}: there are {count} CUDA devices, cuda:0 to cuda:{count - 1}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SystemFault(f"device={name}: this torch ({torch.__version__}) has no MPS device; use cpu or auto")
    return device


def select_process_device(device: torch.device, process_group: ProcessGroup) -> torch.device:
    """Return the device of this process: of several processes on a machine, each has a CUDA device of its own.

    Args:
        device: Device of the run.
        process_group: The processes.

    Raises:
        SystemFault: There are more processes than CUDA devices.
    """
    if process_group.size == 1 or device.type != "cuda":
        # Processes exchange nothing that is on an MPS device.
        return device if process_group.size == 1 else torch.device("cpu")
    count = torch.cuda.device_count()
    if process_group.local_size > count:
        raise SystemFault(
            f"devices: {process_group.local_size} processes on this machine need as many CUDA devices, but it has"
            f" {count}; use devices={count}, or device=cpu"
        )
    torch.cuda.set_device(process_group.local_rank)
    return torch.device("cuda", process_group.local_rank)


def select_available_device(name: str) -> torch.device:
    """Return the device of a saved run, or the best available one, with a warning, if this machine does not have it."""
    try:
        return select_device(name)
    except SystemFault as error:
        fallback = select_device("auto")
        log.warning("%s; using %s", error, fallback)
        return fallback


def keep_freed_memory(*, keep: bool = True) -> None:
    """Let glibc keep the memory of freed tensors for reuse; without glibc this does nothing.

    By default large blocks are returned to the system, which zeroes their pages again at every step: a seventh of the
    time of a step on images, or more.

    Args:
        keep: False restores the default.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0 if keep else MAX_MMAP_COUNT)
        mallopt(M_TRIM_THRESHOLD, NEVER_TRIM if keep else MMAP_THRESHOLD_BYTES)


def count_macs(task: Task, batch: Batch) -> int:
    """Return the multiply-accumulate operations of the linear and convolutional layers in one forward pass.

    Recurrent layers are not counted: their time steps are sequential, so several threads do not help.

    Args:
        task: The task.
        batch: Batch on its device.
    """
    total = 0

    def add_macs(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        total += output.numel() * weight[0].numel()

    layers = [m for m in task.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
    hooks = [layer.register_forward_hook(add_macs) for layer in layers]
    try:
        with torch.no_grad():
            task.score(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def choose_threads(task: Task, batch: Batch, num_processes: int = 1) -> int:
    """Return the number of threads for a task: 1 for small models, the number of cores for large ones.

    Args:
        task: The task.
        batch: Small batch on its device, to count operations.
        num_processes: Number of processes that share the cores.
    """
    return max(1, count_cores() // num_processes) if count_macs(task, batch) > MULTITHREAD_MIN_MACS else 1


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory is exhausted.

    For memory of the host torch raises another error: on a CPU, and for page-locked memory, which CUDA allocates.
    """
    texts = ("DefaultCPUAllocator", "CUDA error: out of memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in texts)


@contextmanager
def explain_memory(remedy: str) -> Iterator[None]:
    """Convert the exhaustion of memory inside the block to a user error.

    Args:
        remedy: What needs less memory.

    Raises:
        SystemFault: Memory is exhausted.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).split("\n")[0]
        raise SystemFault(f"out of memory: {reason}; {remedy}") from error


def explain_model_memory() -> AbstractContextManager[None]:
    """Convert the exhaustion of memory by a block that builds a model, for which no batch size is small enough.

    Raises:
        SystemFault: The model does not fit in memory.
    """
    return explain_memory("the model does not fit in memory, choose a smaller one")
