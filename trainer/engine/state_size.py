"""Size of a nested state on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


def count_state_bytes(state: Any) -> int:
    """Return the bytes of all tensors and strings in a nested state, with shared memory counted once, as when saved."""
    return sum(dict(_iter_storage_sizes(state)).values())


def _iter_storage_sizes(state: Any) -> Iterator[tuple[int, int]]:
    """Yield address and size of the memory of each tensor and string; numbers are too few to matter."""
    if isinstance(state, torch.Tensor):
        storage = state.untyped_storage()
        yield storage.data_ptr(), storage.nbytes()
    elif isinstance(state, str | bytes):
        yield id(state), len(state)
    items = (*state, *state.values()) if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    for item in items:
        yield from _iter_storage_sizes(item)
