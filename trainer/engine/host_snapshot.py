"""Snapshots of training states in memory of the host, which are written while training continues."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

MIN_REUSED_BYTES = 1 << 20
"""Size from which the memory of a copy is kept for the next one: its first use costs many times the copy."""
StorageKey = tuple[int, int]
"""Address and size of the memory of tensors."""


class HostSnapshot:
    """Copies states to the host, into memory that each copy reuses: a copy is valid until the next one.

    Memory that several tensors share is copied once and shared by their copies, as in a saved file.
    """

    def __init__(self) -> None:
        self._buffers: Mapping[tuple[int, bool], list[Tensor]] = {}

    def copy(
        self, state: Mapping[str, Any], deferred_keys: Collection[str] = ()
    ) -> tuple[dict[str, Any], Callable[[], None]]:
        """Copy a state, except for large tensors on the CPU that only the deferred keys contain.

        Args:
            state: State of tensors and plain values in dictionaries, lists and tuples.
            deferred_keys: Keys of the state whose large tensors are copied later.

        Returns:
            The copy, and a function that completes it, which may be called in another thread. Until it returns, the
            tensors of the deferred keys must not change.
        """
        early = _collect_storages({key: value for key, value in state.items() if key not in deferred_keys})
        storages = early | _collect_storages(state)
        used: dict[tuple[int, bool], list[Tensor]] = defaultdict(list)
        buffers: dict[StorageKey, Tensor] = {}
        deferred: list[tuple[Tensor, Tensor]] = []
        for key, storage in storages.items():
            source = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
            buffer = buffers[key] = self._take_buffer(source, used)
            if key in early or source.device.type != "cpu" or source.numel() < MIN_REUSED_BYTES:
                buffer.copy_(source, non_blocking=source.is_cuda)
            else:
                deferred.append((buffer, source))
        self._buffers = used  # memory that this copy does not need is freed
        # Copies from a CUDA device are in the order of its stream, so that later updates cannot change them.
        events = [_record_event(device) for device in {s.device for s in storages.values()} if device.type == "cuda"]

        def complete() -> None:
            for buffer, source in deferred:
                buffer.copy_(source)
            for event in events:
                event.synchronize()

        return {key: _copy_value(value, buffers) for key, value in state.items()}, complete

    def _take_buffer(self, source: Tensor, used: dict[tuple[int, bool], list[Tensor]]) -> Tensor:
        """Return memory for a copy of some bytes: that of an earlier copy of the same size, if there is any left."""
        key = source.numel(), source.is_cuda
        unused = self._buffers.get(key)
        buffer = unused.pop() if unused else torch.empty(key[0], dtype=torch.uint8, pin_memory=key[1])
        if key[0] >= MIN_REUSED_BYTES:
            used[key].append(buffer)
        return buffer


def _record_event(device: torch.device) -> torch.cuda.Event:
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event


def _get_key(tensor: Tensor) -> StorageKey:
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


def _collect_storages(value: Any) -> dict[StorageKey, torch.UntypedStorage]:
    """Return the memory of all dense tensors in a nested state."""
    return {_get_key(tensor): tensor.untyped_storage() for tensor in _iter_tensors(value) if _is_dense(tensor)}


def _is_dense(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_quantized


def _iter_tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    for item in items:
        yield from _iter_tensors(item)


def _copy_value(value: Any, buffers: Mapping[StorageKey, Tensor]) -> Any:
    """Copy the containers of a nested state, with the copies of its tensors; plain values do not change."""
    if isinstance(value, Tensor):
        if not _is_dense(value):
            return value.detach().cpu().clone()
        storage = buffers[_get_key(value)].untyped_storage()
        dense = torch.empty(0, dtype=value.dtype)
        return dense.set_(storage, value.storage_offset(), value.size(), value.stride())
    if isinstance(value, dict):
        items = copy.copy(value)
        items.update({key: _copy_value(item, buffers) for key, item in value.items()})
        if isinstance(value, OrderedDict):
            vars(items).update(vars(value))  # the versions of the modules of a state_dict
        return items
    if isinstance(value, list | tuple):
        return type(value)(_copy_value(item, buffers) for item in value)
    return value
