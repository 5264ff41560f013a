"""Types for annotations of configurable parameters, and validation of values against them.

The configuration is validated against the annotations of ``__init__`` before heavy libraries are imported, so this
module must not import torch.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

MISSING = "???"
"""Value of a required key in a YAML file that the data set or the user must provide."""


class _Constraint:
    """Base of constraints, which are equal if their attributes are; the import of dataclasses would take 4 ms."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class Range(_Constraint):
    """Interval of numbers; by default unbounded.

    Args:
        gt: Exclusive lower bound.
        ge: Inclusive lower bound.
        lt: Exclusive upper bound.
        le: Inclusive upper bound.
    """

    def __init__(
        self, *, gt: float = -math.inf, ge: float = -math.inf, lt: float = math.inf, le: float = math.inf
    ) -> None:
        self.gt, self.ge, self.lt, self.le = gt, ge, lt, le

    def __contains__(self, value: float) -> bool:
        return self.gt < value < self.lt and self.ge <= value <= self.le

    def __str__(self) -> str:
        bounds = ((">", self.gt), (">=", self.ge), ("<", self.lt), ("<=", self.le))
        return " and ".join(f"{sign} {_format_bound(bound)}" for sign, bound in bounds if math.isfinite(bound))


def _format_bound(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) and abs(bound) < 1e12 else f"{bound:g}"


class Pattern(_Constraint):
    """Texts that match a regular expression.

    Args:
        regex: Regular expression for the full text.
        example: Valid example, for messages.
    """

    def __init__(self, regex: str, example: str) -> None:
        self.regex, self.example = regex, example

    def __contains__(self, value: str) -> bool:
        return re.fullmatch(self.regex, value) is not None

    def __str__(self) -> str:
        return f"like {self.example}"


class PathText(_Constraint):
    """Texts that are valid paths.

    Args:
        max_name_length: Maximum length of a path component in bytes, as limited by file systems.
    """

    def __init__(self, max_name_length: int = 255) -> None:
        self.max_name_length = max_name_length

    def __contains__(self, value: str) -> bool:
        return all(len(name.encode("utf-8", "surrogateescape")) <= self.max_name_length for name in value.split("/"))

    def __str__(self) -> str:
        return f"that is the path of a file or folder, each name at most {self.max_name_length} bytes"


class PluginMetricName(_Constraint):
    """Dotted names of metrics defined by plugins."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and "." in value and all(part.isidentifier() for part in value.split("."))

    def __str__(self) -> str:
        return "a metric of a plugin, such as my_metrics.balanced_error"


class AnyNumber(_Constraint):
    """Any number, including infinity and NaN."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    def __str__(self) -> str:
        return "a number or nan"


Number = Annotated[object, AnyNumber()]
"""Score; it may be infinite or NaN."""
PluginMetric = Annotated[object, PluginMetricName()]
"""Metric of a plugin: its dotted name in a configuration, the object itself as an argument of a task."""
DataPath = Annotated[str, PathText()]
"""User file or folder that a data set reads; its contents are part of the fingerprint of a run."""
PositiveInt = Annotated[int, Range(ge=1)]
NonNegativeInt = Annotated[int, Range(ge=0)]
PositiveFloat = Annotated[float, Range(gt=0)]
NonNegativeFloat = Annotated[float, Range(ge=0)]
Probability = Annotated[float, Range(ge=0, le=1)]
"""Number in [0, 1], both bounds included: a dropout probability of 1 is valid and gives zeros."""
Fraction = Annotated[float, Range(gt=0, lt=1)]
"""Number in (0, 1), both bounds excluded."""
Decay = Annotated[float, Range(ge=0, lt=1)]
"""Decay of an exponential moving average, in [0, 1)."""

Thousands = Literal["comma", "point", "space", "apostrophe"]
"""Thousands separator of numbers in text files."""

ANNOTATION_TYPES: dict[str, Any] = {
    "Thousands": Thousands,
    "DataPath": DataPath,
    "PluginMetric": PluginMetric,
    "PositiveInt": PositiveInt,
    "NonNegativeInt": NonNegativeInt,
    "PositiveFloat": PositiveFloat,
    "NonNegativeFloat": NonNegativeFloat,
    "Probability": Probability,
    "Fraction": Fraction,
    "Decay": Decay,
    "Literal": Literal,
    "Sequence": Sequence,
    "Iterable": Sequence,
    "Mapping": Mapping,
    **{kind.__name__: kind for kind in (int, float, str, bool, list, tuple, dict)},
}
"""Types that annotations may use, by name; other annotations are not validated."""


PLURALS = {
    "a whole number": "whole numbers",
    "a number": "numbers",
    "text": "strings",
    "a mapping": "mappings",
    "a list": "lists",
    "a metric": "metrics",
    "a value": "values",
    "one of": "any of",
}
"""Plurals of the beginnings of descriptions of types."""


def describe_type(kind: Any) -> str:
    """Return the description of a type for messages, such as ``a whole number >= 1``."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return str(args[1]) if args[0] is object else f"{describe_type(args[0])} {args[1]}"
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in (Union, types.UnionType):
        return " or ".join(describe_type(arg) for arg in _merge_literals(args))
    if origin in (list, tuple, Sequence):
        kinds = [arg for arg in args if arg is not ...]
        if len(kinds) > 1:
            return f"a list [{', '.join(map(describe_type, kinds))}]"
        is_union = get_origin(kinds[0]) in (Union, types.UnionType)
        parts = _merge_literals(get_args(kinds[0])) if is_union else kinds
        return f"a list of {' or '.join(_make_plural(describe_type(part)) for part in parts)}"
    plain = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return plain.get(kind, "a mapping" if (origin or kind) in (dict, Mapping) else "a value")


def _merge_literals(kinds: Sequence[Any]) -> list[Any]:
    """Return the types of a union with one ``Literal``, which comes first, instead of several."""
    literals = tuple(value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind))
    return [*([Literal[literals]] if literals else []), *(kind for kind in kinds if get_origin(kind) is not Literal)]


def _make_plural(description: str) -> str:
    """Return the plural of a description of a type, for the entries of a list."""
    for singular, plural in PLURALS.items():
        if description.startswith(singular):
            return plural + description.removeprefix(singular)
    return description


def list_choices(kind: Any) -> list[str]:
    """Return the texts of all ``Literal`` types within a type."""
    if get_origin(kind) is Literal:
        return [arg for arg in get_args(kind) if isinstance(arg, str)]
    return [choice for part in get_args(kind) for choice in list_choices(part)]


def is_huge(value: Any) -> bool:
    """Return whether a value is an integer outside the range of int64."""
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def is_valid_value(value: Any, kind: Any) -> bool:
    """Return whether a configuration value has a type and is in its range.

    An integer is a valid float, but neither text nor a bool is a number.

    Args:
        value: Value read from YAML.
        kind: Annotation, with ``Annotated`` ranges.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return is_valid_value(value, args[0]) and value in args[1]
    if origin is Literal:
        return any(value == arg and type(value) is type(arg) for arg in args)
    if origin in (Union, types.UnionType):
        return any(is_valid_value(value, arg) for arg in args)
    if origin in (list, Sequence) or (origin is tuple and args[-1] is ...):
        return isinstance(value, list | tuple) and all(is_valid_value(item, args[0]) for item in value)
    if origin is tuple:
        return isinstance(value, list | tuple) and len(value) == len(args) and all(map(is_valid_value, value, args))
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(is_valid_value(item, args[1]) for item in value.values())
    if kind is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and not is_huge(value) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and not is_huge(value)
    if kind is type(None) or kind is None:
        return value is None
    return not isinstance(kind, type) or isinstance(value, kind)


def find_mismatches(value: Any, kind: Any, path: str) -> Iterator[str]:
    """Yield a message for each part of a nested value that does not have its type.

    Args:
        value: Value with nested mappings and lists.
        kind: Annotation of the value.
        path: Dotted key of the value, for messages.
    """
    origin, args = get_origin(kind), get_args(kind)
    if isinstance(value, Mapping) and origin in (dict, Mapping):
        for key, item in value.items():
            yield from find_mismatches(item, args[1], f"{path}.{key}")
    elif isinstance(value, list) and origin in (list, Sequence):
        for index, item in enumerate(value):
            yield from find_mismatches(item, args[0], f"{path}.{index}")
    elif not is_valid_value(value, kind):
        yield f"{path} is {format_value(value)}, not {describe_type(kind)}"


def format_value(value: Any) -> str:
    """Return a short description of a value of any type."""
    if isinstance(value, Mapping | list | tuple):
        return f"a {'mapping' if isinstance(value, Mapping) else 'list'} of {len(value)}"
    shape = getattr(value, "shape", None)
    return repr(value)[:60] if shape is None else f"a tensor {str(value.dtype).removeprefix('torch.')} {list(shape)}"
