"""Which device, and how many threads."""

from __future__ import annotations

import ctypes
import logging

import torch
from torch import nn

from trainer.config.schema import Device
from trainer.core.batch import Batch
from trainer.core.task import Task
from trainer.core.types import is_valid_value
from trainer.utils.cpu import count_cores
from trainer.utils.errors import SystemFault

log = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of two settings in glibc's malloc.h."""
NEVER_TRIM, MMAP_THRESHOLD_BYTES, MAX_MMAP_COUNT = 2**31 - 1, 128 * 1024, 65536
MULTITHREAD_MIN_MACS = 2e8
"""Multiply-adds of one forward pass above which a second thread pays; below, threads cost more than they do."""


def select_device(name: str) -> torch.device:
    """The device a user named; ``auto`` takes the best there is and never fails.

    Raises SystemFault for a device this machine or this torch lacks.
    """
    assert is_valid_value(name, Device), f"{name!r} is no device: the configuration was not checked"
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


def select_available_device(name: str) -> torch.device:
    """The device of a run that is used again; where this machine lacks it, the best there is."""
    try:
        return select_device(name)
    except SystemFault as error:
        fallback = select_device("auto")
        log.warning("%s; going on with %s", error, fallback)
        return fallback


def keep_freed_memory(*, keep: bool = True) -> None:
    """Has the C library keep the memory of freed tensors for the next ones; ``keep=False`` is how it begins.

    Given back, it is taken anew and zeroed page by page at every step: a seventh of a step on pictures, or more.
    Nothing happens where the library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0 if keep else MAX_MMAP_COUNT)
        mallopt(M_TRIM_THRESHOLD, NEVER_TRIM if keep else MMAP_THRESHOLD_BYTES)


def count_macs(task: Task, batch: Batch) -> int:
    """Multiply-adds of the linear layers and convolutions of one forward pass.

    Recurrent layers count as none: their steps follow one another, so threads only get in each other's way.
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


def choose_threads(task: Task, batch: Batch) -> int:
    """One thread for small work, every core for large; not what torch is set to, which a run sets to one first."""
    return count_cores() if count_macs(task, batch) > MULTITHREAD_MIN_MACS else 1


def is_out_of_memory(error: BaseException) -> bool:
    """On a CPU torch raises no type of its own for it."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
