"""Changes that a forward pass in training mode makes to buffers, such as the running statistics of batch norm."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.utils.errors import ConfigError

BufferKey = tuple[nn.Module, str]


class BufferChanges:
    """Saved buffers of a module, and how they have changed since.

    A forward pass may change them in place, or replace them by tensors of the same shape and type.

    Args:
        module: The module; only buffers that are part of its ``state_dict`` and hold numbers count.
    """

    def __init__(self, module: nn.Module):
        self._children = dict(module.named_modules())
        self._buffers = self._find_buffers()
        types = dict.fromkeys((buffer.dtype, buffer.device) for buffer in self._buffers.values())
        self._keys_by_type = [
            [key for key, buffer in self._buffers.items() if (buffer.dtype, buffer.device) == each] for each in types
        ]
        self._sizes_by_type = [[self._buffers[key].numel() for key in keys] for keys in self._keys_by_type]
        self.numel = sum(map(sum, self._sizes_by_type))
        self.save()

    def save(self) -> None:
        """Save the buffers.

        Raises:
            ConfigError: A buffer was registered, removed, or replaced by one of another shape or type.
        """
        self._before = self._flatten_buffers()

    def restore(self) -> None:
        """Set the buffers to the saved ones."""
        self._set_buffers(self._before)

    def compute(self, like: Tensor) -> Tensor:
        """Return the changes since ``save`` as a vector (D,), of the dtype and on the device of a tensor.

        Raises:
            ConfigError: A buffer was registered, removed, or replaced by one of another shape or type.
        """
        changes = [
            (after - before).to(like) for before, after in zip(self._before, self._flatten_buffers(), strict=True)
        ]
        return torch.cat([like.new_zeros(0), *changes])

    def apply(self, changes: Tensor) -> None:
        """Set the buffers to the saved ones and these changes (D,); those of integers are rounded."""
        parts = changes.split(list(map(len, self._before)))
        values = []
        for before, change in zip(self._before, parts, strict=True):
            if before.is_floating_point():  # inf - inf is not 0, but infinite elements, as of a mask, are constant
                values.append(torch.where(before.isfinite(), before + change, before))
            else:
                values.append(before + change.round().to(before.dtype))
        self._set_buffers(values)

    def _find_buffers(self) -> dict[BufferKey, Tensor]:
        """Return the current buffers that count; one that several modules share is listed once."""
        found: dict[int, tuple[BufferKey, Tensor]] = {}
        for child in self._children.values():
            if child._buffers:  # faster than named_buffers, which takes longer than a step of a small model
                for name, buffer in child._buffers.items():
                    if buffer is not None and name not in child._non_persistent_buffers_set:
                        found.setdefault(id(buffer), ((child, name), buffer))
        return {key: buffer for key, buffer in found.values() if buffer.dtype != torch.bool}

    def _flatten_buffers(self) -> list[Tensor]:
        """Return the values of the current buffers, those of one type as one vector."""
        buffers = self._find_buffers()
        self._validate(buffers)
        return [torch.cat([buffers[key].detach().flatten() for key in keys]) for keys in self._keys_by_type]

    def _set_buffers(self, values_by_type: list[Tensor]) -> None:
        # The first tensors are put back: one that replaces them may share its memory with something else.
        for keys, sizes, values in zip(self._keys_by_type, self._sizes_by_type, values_by_type, strict=True):
            for key, part in zip(keys, values.split(sizes), strict=True):
                child, name = key
                buffer = child._buffers[name] = self._buffers[key]
                buffer.copy_(part.view(buffer.shape))

    def _validate(self, buffers: Mapping[BufferKey, Tensor]) -> None:
        """Raise ConfigError if the buffers are not those of the first time, up to their values."""
        for key in self._buffers.keys() | buffers.keys():
            first, current = self._buffers.get(key), buffers.get(key)
            if first is not None and first is current:
                continue
            if first is None or current is None:
                change = "removed" if current is None else "registered"
            elif (first.shape, first.dtype, first.device) != (current.shape, current.dtype, current.device):
                change = f"replaced by a tensor of type {current.dtype} and shape {tuple(current.shape)}"
            else:
                continue
            name = next(name for name, child in self._children.items() if child is key[0])
            raise ConfigError(
                f"devices: buffer {'.'.join(filter(None, (name, key[1])))} was {change} during training, and cannot be"
                " averaged over the parts of a batch; register it in __init__ with its final shape, or use devices=1"
            )
