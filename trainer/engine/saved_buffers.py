"""Copies of the buffers of a module, from before a forward pass that may have to be undone."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SavedBuffers:
    """All buffers of a module and copies of their values, with which the changes of a forward pass are undone.

    It may change buffers in place, replace them by other tensors, register or remove them.

    Args:
        module: The module.
    """

    def __init__(self, module: nn.Module):
        self._children = [*module.modules()]
        self._buffers = [dict(child._buffers) for child in self._children]
        self._non_persistent = [set(child._non_persistent_buffers_set) for child in self._children]
        self._values = {id(buffer): buffer.detach().clone() for buffer in module.buffers()}

    def restore(self, is_undone: Tensor) -> None:
        """Set the buffers to the saved ones if a scalar is 1, and leave them if it is 0.

        The host waits for an accelerator only if a buffer was registered, removed, has another shape or type, or is
        shared with other modules than before.

        Args:
            is_undone: The scalar.
        """
        if is_undone.device.type != "cpu" and self._have_same_kinds():
            self._restore_where(is_undone.bool())
        elif is_undone:
            self._restore()

    def _restore(self) -> None:
        for child, buffers, names in zip(self._children, self._buffers, self._non_persistent, strict=True):
            current = dict(child._buffers)
            if current.keys() != buffers.keys() or any(current[name] is not buffers[name] for name in buffers):
                child._buffers.clear()
                child._buffers.update(buffers)
                child._non_persistent_buffers_set = set(names)
            for buffer in buffers.values():
                if buffer is not None:
                    buffer.detach().copy_(self._values[id(buffer)])

    def _have_same_kinds(self) -> bool:
        identities: dict[int, int] = {}
        for child, buffers in zip(self._children, self._buffers, strict=True):
            if child._buffers.keys() != buffers.keys():
                return False
            for name, buffer in buffers.items():
                current = child._buffers[name]
                if get_type(current) != get_type(buffer):
                    return False
                if identities.setdefault(id(buffer), id(current)) != id(current):
                    return False
        return len(set(identities.values())) == len(identities)

    def _restore_where(self, is_undone: Tensor) -> None:
        replaced: dict[int, Tensor] = {}
        for child, buffers in zip(self._children, self._buffers, strict=True):
            for name, buffer in buffers.items():
                current = child._buffers[name]
                if buffer is None or current is None:
                    continue
                value = torch.where(is_undone, self._values[id(buffer)], current.detach())
                if current is buffer:
                    buffer.detach().copy_(value)
                else:  # which may share its memory with something else
                    child._buffers[name] = replaced.setdefault(id(buffer), value)


def get_type(buffer: Tensor | None) -> tuple[object, ...] | None:
    """Return what a buffer has in common with one that may replace it: shape, dtype and device."""
    return None if buffer is None else (buffer.shape, buffer.dtype, buffer.device)
