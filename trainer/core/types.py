"""The types a signature may use for its configuration, and the check of a value against them.

A class says what it accepts in its ``__init__``; the configuration is checked against that before anything heavy is
imported, so nothing here may import torch.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

MISSING = "???"
"""What a YAML file holds where a value is still to come: from the data, or from the user."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """An interval; a missing end is unbounded. ``gt``/``lt`` exclude the end, ``ge``/``le`` include it."""

    gt: float = -math.inf
    ge: float = -math.inf
    lt: float = math.inf
    le: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.gt < value < self.lt and self.ge <= value <= self.le

    def __str__(self) -> str:
        ends = ((">", self.gt), (">=", self.ge), ("<", self.lt), ("<=", self.le))
        return " and ".join(f"{sign} {_format_bound(end)}" for sign, end in ends if math.isfinite(end))


def _format_bound(end: float) -> str:
    return str(int(end)) if end == int(end) and abs(end) < 1e12 else f"{end:g}"


@dataclass(frozen=True)
class Pattern:
    """Texts of one form: a regular expression for the whole of them, and an example to tell it by."""

    regex: str
    example: str

    def __contains__(self, value: str) -> bool:
        return re.fullmatch(self.regex, value) is not None

    def __str__(self) -> str:
        return f"like {self.example}"


@dataclass(frozen=True)
class PathText:
    """Texts that can be the path of a file: no name in it is longer than file systems allow."""

    max_name_length: int = 255

    def __contains__(self, value: str) -> bool:
        return all(len(name.encode("utf-8", "surrogateescape")) <= self.max_name_length for name in value.split("/"))

    def __str__(self) -> str:
        return f"that is the path of a file or folder, each name at most {self.max_name_length} bytes"


@dataclass(frozen=True)
class PluginMetricName:
    """Dotted names of what a plugin may define as a metric."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and "." in value and all(part.isidentifier() for part in value.split("."))

    def __str__(self) -> str:
        return "a metric of a plugin, such as my_metrics.balanced_error"


@dataclass(frozen=True)
class AnyNumber:
    """Every number, also one that is infinite or none at all, as a score may be."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    def __str__(self) -> str:
        return "a number or nan"


Number = Annotated[object, AnyNumber()]
"""A score: also infinite, or not a number."""
PluginMetric = Annotated[object, PluginMetricName()]
"""A metric that a plugin defines: its dotted name in a configuration, the metric itself where a task is built."""
DataPath = Annotated[str, PathText()]
"""A file or folder of the user's that a data set reads: part of what a run is, so its contents have a fingerprint."""
PositiveInt = Annotated[int, Range(ge=1)]
NonNegativeInt = Annotated[int, Range(ge=0)]
PositiveFloat = Annotated[float, Range(gt=0)]
NonNegativeFloat = Annotated[float, Range(ge=0)]
Probability = Annotated[float, Range(ge=0, le=1)]
"""A share in [0, 1], both ends included: a dropout of 1 is legal and gives zeros."""
Fraction = Annotated[float, Range(gt=0, lt=1)]
"""A share strictly between nothing and everything."""
Decay = Annotated[float, Range(ge=0, lt=1)]
"""The weight an exponential average gives its past."""

Thousands = Literal["comma", "point", "space", "apostrophe"]
"""The sign between thousands in a written number."""

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
"""The names an annotation may use; anything else in a signature is left unchecked."""


def describe_type(kind: Any) -> str:
    """The words a user reads for a type: ``a whole number >= 1``."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return str(args[1]) if args[0] is object else f"{describe_type(args[0])} {args[1]}"
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in (Union, types.UnionType):
        return " or ".join(describe_type(arg) for arg in args)
    if origin in (list, tuple, Sequence):
        parts = [describe_type(arg) for arg in args if arg is not ...]
        return f"a list [{', '.join(parts)}]" if len(parts) > 1 else f"a list, each {parts[0]}"
    plain = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return plain.get(kind, "a mapping" if (origin or kind) in (dict, Mapping) else "a value")


def list_choices(kind: Any) -> list[str]:
    """The texts that a type lists, at any depth of it."""
    if get_origin(kind) is Literal:
        return [arg for arg in get_args(kind) if isinstance(arg, str)]
    return [choice for part in get_args(kind) for choice in list_choices(part)]


def is_huge(value: Any) -> bool:
    """Whether a whole number is beyond what 64 bits hold, where nothing that counts can use it."""
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def is_valid_value(value: Any, kind: Any) -> bool:
    """Whether a configuration value is of a type and in its range. A whole number is a number; text never is."""
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
    """Where in a nested value something is not of its type, by dotted key; nothing where the whole ``fits``."""
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
    """A value of any type in a few words."""
    if isinstance(value, Mapping | list | tuple):
        return f"a {'mapping' if isinstance(value, Mapping) else 'list'} of {len(value)}"
    shape = getattr(value, "shape", None)
    return repr(value)[:60] if shape is None else f"a tensor {str(value.dtype).removeprefix('torch.')} {list(shape)}"
