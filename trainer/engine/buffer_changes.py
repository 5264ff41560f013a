"""Changes that a forward pass in training mode makes to buffers, such as the running statistics of batch norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BufferChanges:
    """Saved buffers of a module, and how they have changed since.

    Args:
        module: The module; only buffers in its ``state_dict`` count.
    """

    def __init__(self, module: nn.Module):
        self.buffers = list_saved_buffers(module)
        self.numel = sum(buffer.numel() for buffer in self.buffers)
        self._before = [buffer.clone() for buffer in self.buffers]

    def save(self) -> None:
        """Save the buffers."""
        for before, buffer in zip(self._before, self.buffers, strict=True):
            before.copy_(buffer)

    def restore(self) -> None:
        """Set the buffers to the saved ones."""
        for before, buffer in zip(self._before, self.buffers, strict=True):
            buffer.copy_(before)

    def compute(self, like: Tensor) -> Tensor:
        """Return the changes since ``save`` as a vector (D,), of the dtype and on the device of a tensor."""
        changes = [
            (buffer - before).flatten().to(like) for before, buffer in zip(self._before, self.buffers, strict=True)
        ]
        return torch.cat([like.new_zeros(0), *changes])

    def apply(self, changes: Tensor) -> None:
        """Set the buffers to the saved ones and these changes (D,); those of integers are rounded."""
        parts = changes.split([buffer.numel() for buffer in self.buffers])
        for before, buffer, part in zip(self._before, self.buffers, parts, strict=True):
            change = part.view(buffer.shape)
            if buffer.is_floating_point():  # inf - inf is not 0, but infinite elements, as of a mask, are constant
                buffer.copy_(torch.where(before.isfinite(), before + change, before))
            else:
                buffer.copy_(before + change.round().to(buffer.dtype))


def list_saved_buffers(module: nn.Module) -> list[Tensor]:
    """Return the buffers of a module that are part of its ``state_dict`` and hold numbers."""
    saved = module.state_dict(keep_vars=True)
    return [buffer for name, buffer in module.named_buffers() if name in saved and buffer.dtype != torch.bool]
