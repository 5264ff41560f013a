"""Digests of nested values, to verify that a checkpoint contains what was saved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


def digest_parts(data: Mapping[str, Any]) -> dict[str, str]:
    """Compute a digest of every part of a dataset state, by dotted key.

    A digest is needed because types do not reveal damage: a vocabulary in another order still has the right type.

    Args:
        data: State in a checkpoint: tensors, mappings, lists and plain values.
    """
    digests = {}
    for name, part in data.items():
        for key, value in part.items() if isinstance(part, Mapping) and part else [("", part)]:
            digests[f"{name}.{key}" if key != "" else str(name)] = digest_values([value])
    return digests


def digest_values(values: Iterable[Any]) -> str:
    """Compute a digest of several values, of which one at a time needs to be in memory.

    Args:
        values: Tensors, mappings, lists and plain values.
    """
    hasher = hashlib.blake2b(digest_size=8)
    for value in values:
        _update_hash(hasher, value)
    return hasher.hexdigest()


def _update_hash(hasher: Any, value: Any) -> None:
    """Update a hash with a nested value of tensors and plain values; lists and tuples are not distinguished."""
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
