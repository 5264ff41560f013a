"""Digests of nested values, to verify that a stored part is what was stored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def digest_parts(data: Mapping[str, Any]) -> dict[str, str]:
    """Compute a digest of every part of the dataset state in a checkpoint, by dotted key.

    What a data set has fitted has no fixed type, and a vocabulary in another order would still have the right one.
    """
    digests = {}
    for name, part in data.items():
        for key, value in part.items() if isinstance(part, Mapping) and part else [("", part)]:
            hasher = hashlib.blake2b(digest_size=8)
            _update_hash(hasher, value)
            digests[f"{name}.{key}" if key != "" else str(name)] = hasher.hexdigest()
    return digests


def _update_hash(hasher: Any, value: Any) -> None:
    """Update a hash with a nested value of tensors and plain values; lists and tuples count alike."""
    if isinstance(value, Tensor):
        hasher.update(f"T{value.dtype}{tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        hasher.update(flat.view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        hasher.update(f"M{len(value)}".encode())
        for key, item in value.items():
            _update_hash(hasher, key)
            _update_hash(hasher, item)
    elif isinstance(value, list | tuple):
        hasher.update(f"L{len(value)}".encode())
        for item in value:
            _update_hash(hasher, item)
    else:
        text = f"{type(value).__name__} {value!r}".encode("utf-8", "surrogateescape")
        hasher.update(f"{len(text)} ".encode() + text)
