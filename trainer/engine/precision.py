"""Half precision: where to use it, and how to keep its small gradients."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def autocast_context(device: torch.device, precision: int | str) -> AbstractContextManager[Any]:
    """The context a forward pass runs in: plain for 32, else torch's automatic choice of operations."""
    if precision == 32:
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


def make_grad_scaler(device: torch.device, precision: int | str) -> torch.amp.GradScaler:
    """Scales the loss for fp16 and does nothing otherwise."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
