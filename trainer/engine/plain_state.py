"""State of a checkpoint as values of JSON and tensors by name, for files that hold only one of the two.

A tensor is named by the JSON pointer to its place, which begins with a slash. What JSON lacks is a mapping with a
single key: ``{"$tensor": NAME}``, ``{"$tuple": [...]}``, ``{"$float": "nan"}`` and, for a mapping whose keys are not
all text, ``{"$items": [[KEY, VALUE], ...]}``.

References:
    Bryan, Zyp and Nottingham, JavaScript Object Notation (JSON) Pointer, RFC 6901, 2013.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from trainer.utils.text import shorten_repr

MARK = "$"
TENSOR, TUPLE, FLOAT, ITEMS = (f"{MARK}{name}" for name in ("tensor", "tuple", "float", "items"))
NON_FINITE = {repr(value): value for value in (math.nan, math.inf, -math.inf)}
KEY_TYPES = (str, int, float, type(None))


def split_tensors(value: Any, pointer: str = "") -> tuple[Any, dict[str, Tensor]]:
    """Split nested values into values of JSON and tensors.

    Args:
        value: Mappings, lists, tuples, plain values and tensors.
        pointer: JSON pointer to the value.

    Returns:
        The values of JSON, and the tensors by name.

    Raises:
        ValueError: A value is of another type.
    """
    tensors: dict[str, Tensor] = {}
    return _split(value, pointer, tensors), tensors


def _split(value: Any, pointer: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[pointer] = value
        return {TENSOR: pointer}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith(MARK) for key in value):
            return {key: _split(item, f"{pointer}/{_escape(key)}", tensors) for key, item in value.items()}
        pairs = enumerate(value.items())
        return {ITEMS: [_split_parts(pair, f"{pointer}/{number}", tensors) for number, pair in pairs]}
    if isinstance(value, list | tuple):
        parts = _split_parts(value, pointer, tensors)
        return {TUPLE: parts} if isinstance(value, tuple) else parts
    if isinstance(value, float) and not math.isfinite(value):
        return {FLOAT: repr(value)}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"{pointer} is of type {type(value).__name__}, which JSON cannot hold")


def _split_parts(values: list[Any] | tuple[Any, ...], pointer: str, tensors: dict[str, Tensor]) -> list[Any]:
    return [_split(item, f"{pointer}/{number}", tensors) for number, item in enumerate(values)]


def _escape(key: str) -> str:
    """Return a key as a part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def join_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Join what ``split_tensors`` has split, which is not trusted but for its depth.

    Args:
        value: Values of JSON.
        tensors: Tensors by name.

    Raises:
        ValueError: A tensor is missing, used twice or not at all, or a marked mapping is invalid.
    """
    remaining = dict(tensors)
    joined = _join(value, remaining)
    if remaining:
        raise ValueError(f"no value refers to the tensor {shorten_repr(min(remaining))}")
    return joined


def _join(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_join(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    marks = [key for key in value if key.startswith(MARK)]
    if marks:
        return _join_marked(marks[0], value, tensors)
    return {key: _join(item, tensors) for key, item in value.items()}


def _join_marked(mark: str, node: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    content = node[mark]
    if len(node) == 1:
        if mark == TENSOR and isinstance(content, str) and content in tensors:
            return tensors.pop(content)
        if mark == FLOAT and isinstance(content, str) and content in NON_FINITE:
            return NON_FINITE[content]
        if mark == TUPLE and isinstance(content, list):
            return tuple(_join(content, tensors))
        if mark == ITEMS and isinstance(content, list):
            pairs = _join(content, tensors)
            if all(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], KEY_TYPES) for pair in pairs):
                return dict(pairs)
    raise ValueError(
        f"{shorten_repr(mark)} has a value that no run saves there, or names a tensor that is missing or used twice"
    )
