"""Limits of nested values that were loaded from a file, checked before anything traverses them.

Unpickling quickly builds values that cannot be traversed: a list that contains itself, lists that each refer to the
previous one ten times, a tensor of 10^13 elements with a storage of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.utils.errors import ConfigError

MAX_DEPTH = 50
"""Maximum nesting depth; the state of a run has a depth of 6."""
MAX_EXPANSION_FACTOR = 1000
"""Maximum size of a value relative to its file, with shared parts counted at every reference."""
BYTES_PER_VALUE = 100
"""Size of a plain value or container, without its characters: visiting it costs about as much as hashing so many."""
SCALAR_TYPES = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)


def check_nesting(value: Any, file: Path) -> None:
    """Check that a value that was loaded from a file can be traversed.

    Args:
        value: The value.
        file: Its file, for the size and for messages.

    Raises:
        ConfigError: A container contains itself, nesting or sharing exceeds the limits, a tensor is not a plain array
            in memory, or a value is neither a tensor nor a plain value.
    """
    walker = _NestingWalker()
    try:
        size, _ = walker.measure_value(value, "", 0)
    except ValueError as error:
        raise ConfigError(f"{file}: {error}", "it was edited, or is not of a run") from error
    if size > MAX_EXPANSION_FACTOR * file.stat().st_size:
        raise ConfigError(f"{file}: its parts refer to each other so often that they expand to {size:.1e} bytes")


class _NestingWalker:
    """Visits each container once, by identity. Raises ValueError with the path of a problem."""

    def __init__(self) -> None:
        self._measured: dict[int, tuple[int, int] | None] = {}

    def measure_value(self, value: Any, path: str, depth: int) -> tuple[int, int]:
        """Measure a value.

        Args:
            value: The value.
            path: Path of the value, for messages.
            depth: Number of containers around it.

        Returns:
            Its size in bytes, with shared parts expanded, and the depth of its contents.
        """
        if isinstance(value, Tensor):
            problem = _describe_invalid_tensor(value)
            if problem:
                raise ValueError(f"{path} is {problem}, not a plain tensor")
            return BYTES_PER_VALUE + value.nbytes, 0
        if isinstance(value, SCALAR_TYPES):
            return BYTES_PER_VALUE + (len(value) if isinstance(value, str | bytes) else 0), 0
        if id(value) not in self._measured:
            if depth > MAX_DEPTH:
                raise ValueError(f"{path} is nested more than {MAX_DEPTH} deep")
            self._measured[id(value)] = None
            self._measured[id(value)] = self._measure_parts(value, path, depth)
        measurement = self._measured[id(value)]
        if measurement is None:
            raise ValueError(f"{path} contains itself")
        if depth + measurement[1] > MAX_DEPTH:
            raise ValueError(f"{path} is nested more than {MAX_DEPTH} deep")
        return measurement

    def _measure_parts(self, value: Any, path: str, depth: int) -> tuple[int, int]:
        size, inner_depth = BYTES_PER_VALUE, 0
        for name, part in _iter_parts(value, path):
            part_size, levels = self.measure_value(part, name, depth + 1)
            size, inner_depth = size + part_size, max(inner_depth, levels)
        return size, inner_depth + 1


def _iter_parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield path and value of the contents of a container: keys, values, and the metadata that torch adds to states."""
    prefix = f"{path}." if path else ""
    if isinstance(value, Mapping):
        for key, part in value.items():
            name = f"{prefix}{key}" if isinstance(key, str | int) else prefix + type(key).__name__
            if not isinstance(key, (*SCALAR_TYPES, tuple)):
                raise ValueError(f"{name} is a key of type {type(key).__name__}")
            yield name, key
            yield name, part
        for key, part in getattr(value, "__dict__", {}).items():
            _check_metadata(key, part, prefix)
            yield prefix + key, part
    elif isinstance(value, list | tuple | set | frozenset):
        for number, part in enumerate(value):
            yield f"{prefix}{number}", part
    else:
        raise ValueError(f"{path} is of type {type(value).__name__}, neither a tensor nor a plain value")


def _check_metadata(name: str, value: Any, prefix: str) -> None:
    """Check the versions by module, which torch stores as an attribute of a state and trusts."""
    is_valid = name == "_metadata" and isinstance(value, Mapping)
    for module in value.values() if is_valid else ():
        is_valid = is_valid and isinstance(module, Mapping) and isinstance(module.get("version"), int | None)
    if not is_valid:
        raise ValueError(f"{prefix}{name} is not the metadata that torch saves there")


def _describe_invalid_tensor(value: Tensor) -> str | None:
    """Describe a tensor that is not a complete array in CPU memory; None if it is one."""
    if value.is_nested or type(value) not in (Tensor, torch.nn.Parameter):
        return "a tensor of another kind"
    if value.layout != torch.strided:
        return "a sparse tensor"
    if value.device.type != "cpu":
        return f"a tensor of device {value.device.type}"
    if value.is_quantized:
        return "a quantized tensor"
    if value.is_conj() or value.is_neg():
        return "a tensor that is computed when it is read"
    if value.nbytes > value.untyped_storage().nbytes():
        return f"a tensor of {value.numel():,} elements, more than its file contains"
    return None
