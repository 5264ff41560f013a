"""Mixed precision: autocast and loss scaling."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from trainer.engine.process_group import ProcessGroup


def autocast_context(device: torch.device, precision: int | str) -> AbstractContextManager[Any]:
    """Return the context manager of a forward pass: autocast, or none for full precision.

    Args:
        device: Device of the forward pass.
        precision: 32, ``bf16`` or ``fp16``.
    """
    if precision == 32:
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


class SharedGradScaler(torch.amp.GradScaler):
    """Gradient scaler of processes that each have a shard of the gradient: an overflow in one of them is one for all.

    Args:
        device: Type of the device.
        enabled: Whether losses are scaled.
        process_group: The processes, which call ``unscale_`` together.
    """

    def __init__(self, device: str, enabled: bool, process_group: ProcessGroup):
        super().__init__(device, enabled=enabled)
        self.process_group = process_group

    def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
        super().unscale_(optimizer)
        if self.is_enabled():
            for found_inf in self._found_inf_per_device(optimizer).values():
                self.process_group.start_sum(found_inf).wait()
                found_inf.clamp_(max=1.0)


def make_grad_scaler(
    device: torch.device, precision: int | str, process_group: ProcessGroup | None = None
) -> torch.amp.GradScaler:
    """Return a gradient scaler, which is enabled for ``fp16`` only.

    Args:
        device: Device of the training.
        precision: 32, ``bf16`` or ``fp16``.
        process_group: Processes that each have a shard of the gradient; None if each has all of it.
    """
    if process_group is not None:
        return SharedGradScaler(device.type, precision == "fp16", process_group)
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
