"""Copies from the CPU to a device that the host does not wait for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def copy_to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, or itself if it is there already.

    A copy from ordinary memory waits until CUDA has finished all earlier work, and every step would wait for the one
    before; one from page-locked memory does not. Copies to the CPU always wait, or their values could be read too
    early.

    Args:
        tensor: The tensor.
        device: The device.
    """
    if device.type != "cuda" or tensor.is_cuda or tensor.layout != torch.strided:
        return tensor.to(device)
    # Expanded tensors, whose elements share memory, have no page-locked copy of their own layout.
    pinned = tensor if tensor.is_pinned() else tensor.contiguous().pin_memory()
    return pinned.to(device, non_blocking=True)


def create_on_device(values: Sequence[float | int | bool], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a tensor of a few numbers on a device.

    Args:
        values: The numbers, (N,).
        dtype: Type of the tensor.
        device: The device.
    """
    return copy_to_device(torch.tensor(values, dtype=dtype), device)
