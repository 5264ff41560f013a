"""Changes that a forward pass in training mode makes to buffers, such as the running statistics of batch norm."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.engine.saved_buffers import get_type
from trainer.utils.errors import ConfigError

BufferKey = tuple[nn.Module, str]


class BufferChanges:
    """Saved buffers of a module, and how they have changed since.

    A forward pass may change them in place, or replace them by tensors of the same shape and type. A buffer that
    several modules share must stay shared.

    Args:
        module: The module; only buffers that are part of its ``state_dict`` and hold numbers count.
    """

    def __init__(self, module: nn.Module):
        self._children = dict(module.named_modules())
        self._places = self._find_buffers()
        first_places: dict[int, BufferKey] = {}
        self._first_places = {key: first_places.setdefault(id(buffer), key) for key, buffer in self._places.items()}
        """First place of each buffer, by each of its places: several modules may share it."""
        self._buffers = {key: self._places[key] for key in first_places.values()}
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
            ConfigError: A buffer was registered, removed, or replaced by one of another shape or type, or is no longer
                shared.
        """
        self._before = self._flatten_buffers()

    def restore(self) -> None:
        """Set the buffers to the saved ones."""
        self._set_buffers(self._before)

    def compute(self, like: Tensor) -> Tensor:
        """Return the changes since ``save`` as a vector (D,), of the dtype and on the device of a tensor.

        Raises:
            ConfigError: A buffer was registered, removed, or replaced by one of another shape or type, or is no longer
                shared.
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
        """Return the current buffers that count, by each of their places."""
        return {
            (child, name): buffer
            for child in self._children.values()
            if child._buffers  # faster than named_buffers, which takes longer than a step of a small model
            for name, buffer in child._buffers.items()
            if buffer is not None and name not in child._non_persistent_buffers_set and buffer.dtype != torch.bool
        }

    def _flatten_buffers(self) -> list[Tensor]:
        """Return the values of the current buffers, those of one type as one vector."""
        buffers = self._find_buffers()
        self._validate(buffers)
        return [torch.cat([buffers[key].detach().flatten() for key in keys]) for keys in self._keys_by_type]

    def _set_buffers(self, values_by_type: list[Tensor]) -> None:
        # The first tensors are put back: one that replaces them may share its memory with something else.
        for (child, name), buffer in self._places.items():
            child._buffers[name] = buffer
        for keys, sizes, values in zip(self._keys_by_type, self._sizes_by_type, values_by_type, strict=True):
            for key, part in zip(keys, values.split(sizes), strict=True):
                self._buffers[key].copy_(part.view(self._buffers[key].shape))

    def _validate(self, buffers: Mapping[BufferKey, Tensor]) -> None:
        """Raise ConfigError if the buffers are not those of the first time, up to their values."""
        for key in self._places.keys() | buffers.keys():
            first, current = self._places.get(key), buffers.get(key)
            if first is None or current is None:
                change = "removed" if current is None else "registered"
            elif first is not current and get_type(first) != get_type(current):
                change = f"replaced by a tensor of type {current.dtype} and shape {tuple(current.shape)}"
            else:
                continue
            raise _make_error(self._format_name(key), change)
        for key, first_key in self._first_places.items():
            if buffers[key] is not buffers[first_key]:
                is_first = buffers[first_key] is not self._buffers[first_key]
                changed, other = (first_key, key) if is_first else (key, first_key)
                change = f"replaced by a tensor of its own, but not in {self._format_name(other)}, which shares it,"
                raise _make_error(self._format_name(changed), change)

    def _format_name(self, key: BufferKey) -> str:
        name = next(name for name, child in self._children.items() if child is key[0])
        return ".".join(filter(None, (name, key[1])))


def _make_error(name: str, change: str) -> ConfigError:
    return ConfigError(
        f"devices: buffer {name} was {change} during training, and cannot be averaged over the parts of a batch;"
        " register it in __init__ with its final shape and change it in place, or use devices=1"
    )
