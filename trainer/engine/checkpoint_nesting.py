"""Bounds of a nested value of tensors and plain values that was read from a file, checked before anything walks it.

Unpickling builds in no time what no walk comes to the end of: a list that holds itself, lists that are each ten times
the one before, a tensor of 10^13 elements over a storage of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.utils.errors import ConfigError

MAX_DEPTH = 50
"""A state of a run is nested 6 deep."""
MAX_EXPANSION_FACTOR = 1000
"""How often its file a value may come to, each part counted as often as it is referred to."""
BYTES_PER_VALUE = 100
"""What a plain value or a container counts, beside its letters: walking over it takes about as long as hashing that."""
SCALAR_TYPES = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)


def check_nesting(value: Any, file: Path) -> None:
    """Raises ConfigError naming file and place of what a later walk would not survive.

    That is a container that holds itself, nesting or sharing beyond measure, a tensor that is no plain array in
    memory, and anything that is neither a tensor nor a plain value.
    """
    walker = _NestingWalker()
    try:
        size, _ = walker.measure_value(value, "", 0)
    except ValueError as error:
        raise ConfigError(f"{file}: {error}", "it was edited, or is not of a run") from error
    if size > MAX_EXPANSION_FACTOR * file.stat().st_size:
        raise ConfigError(f"{file}: its parts refer to each other so often that they come to {size:.1e} bytes")


class _NestingWalker:
    """Visits each container once, by identity. Raises ValueError naming the place of a fault."""

    def __init__(self) -> None:
        self._measured: dict[int, tuple[int, int] | None] = {}

    def measure_value(self, value: Any, at: str, depth: int) -> tuple[int, int]:
        """(bytes with everything shared filled in, levels below) of a value."""
        if isinstance(value, Tensor):
            problem = _describe_invalid_tensor(value)
            if problem:
                raise ValueError(f"{at} is {problem}, not a plain tensor")
            return BYTES_PER_VALUE + value.nbytes, 0
        if isinstance(value, SCALAR_TYPES):
            return BYTES_PER_VALUE + (len(value) if isinstance(value, str | bytes) else 0), 0
        if id(value) not in self._measured:
            if depth > MAX_DEPTH:
                raise ValueError(f"{at} is nested more than {MAX_DEPTH} deep")
            self._measured[id(value)] = None
            self._measured[id(value)] = self._measure_parts(value, at, depth)
        measured = self._measured[id(value)]
        if measured is None:
            raise ValueError(f"{at} holds itself")
        if depth + measured[1] > MAX_DEPTH:
            raise ValueError(f"{at} is nested more than {MAX_DEPTH} deep")
        return measured

    def _measure_parts(self, value: Any, at: str, depth: int) -> tuple[int, int]:
        size, depth_below = BYTES_PER_VALUE, 0
        for name, part in _iter_parts(value, at):
            part_size, levels = self.measure_value(part, name, depth + 1)
            size, depth_below = size + part_size, max(depth_below, levels)
        return size, depth_below + 1


def _iter_parts(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    """What a container holds, and where: keys and values, and what torch hangs on the dictionary of a module."""
    prefix = f"{at}." if at else ""
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
        raise ValueError(f"{at} is of type {type(value).__name__}, neither a tensor nor a plain value")


def _check_metadata(name: str, value: Any, prefix: str) -> None:
    """Versions by module, which torch keeps in an attribute of a state's dictionary and trusts."""
    is_valid = name == "_metadata" and isinstance(value, Mapping)
    for module in value.values() if is_valid else ():
        is_valid = is_valid and isinstance(module, Mapping) and isinstance(module.get("version"), int | None)
    if not is_valid:
        raise ValueError(f"{prefix}{name} is not what torch keeps of a module there")


def _describe_invalid_tensor(value: Tensor) -> str | None:
    """What a tensor is, if not an array in memory of this process whose elements are all there."""
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
        return f"a tensor of {value.numel():,} elements, which its file does not hold"
    return None
