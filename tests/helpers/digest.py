"""A hash over everything a run must reproduce, without wall-clock times."""

from __future__ import annotations

import hashlib
from typing import Any

from torch import Tensor

WALL_CLOCK = {"seconds", "run_metadata"}


def digest(state: Any) -> str:
    """Return the SHA-256 of a nested state of tensors and plain values, in a fixed order."""
    hasher = hashlib.sha256()
    _feed(hasher, state)
    return hasher.hexdigest()


def _feed(hasher: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        hasher.update(f"{value.dtype}{tuple(value.shape)}".encode())
        hasher.update(value.detach().cpu().contiguous().numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            if key not in WALL_CLOCK:
                hasher.update(str(key).encode())
                _feed(hasher, value[key])
    elif isinstance(value, list | tuple):
        hasher.update(f"[{len(value)}".encode())
        for item in value:
            _feed(hasher, item)
    else:
        hasher.update(repr(value).encode())
