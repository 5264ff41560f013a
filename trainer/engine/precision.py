"""Mixed precision: autocast and loss scaling."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def autocast_context(device: torch.device, precision: int | str) -> AbstractContextManager[Any]:
    """Return the context manager of a forward pass: autocast, or none for full precision.

    Args:
        device: Device of the forward pass.
        precision: 32, ``bf16`` or ``fp16``.
    """
    if precision == 32:
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


def make_grad_scaler(device: torch.device, precision: int | str, is_sharded: bool = False) -> torch.amp.GradScaler:
    """Return a gradient scaler, which is enabled for ``fp16`` only.

    Args:
        device: Device of the training.
        precision: 32, ``bf16`` or ``fp16``.
        is_sharded: Whether each process has only a shard of the gradient: an overflow in one of them is one for all.
    """
    if is_sharded:
        from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler  # only where it is used

        return ShardedGradScaler(device.type, enabled=precision == "fp16")
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
