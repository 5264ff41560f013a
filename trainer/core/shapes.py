"""Parser of shape declarations, the ``shapes`` of models, data sets and tasks.

``x (B, T, F), lengths (B) -> (B, C)`` declares the named inputs and the output of a model, ``x (B, T, F) -> (B)`` the
inputs and targets of a data set, ``(B, C, ...) -> (B, ...)`` the outputs and targets that a task compares. ``**inputs
(B, ...)`` accepts every input of a data set. A model may declare alternatives, separated by ``or``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

Dims = tuple[str, ...]
"""Names of dimensions, such as ``("B", "T", "F")``; ``...`` is any number of further dimensions."""

_ENTRY = r"\*{0,2}\w*\s*\([\w.,\s]*\)"
_DECLARATION = re.compile(rf"\s*{_ENTRY}(?:\s*,\s*{_ENTRY})*\s*->\s*\w*\s*\([\w.,\s]*\)\s*")


class Shapes(NamedTuple):
    """Parsed shape declaration.

    Attributes:
        inputs: Dimensions of each input, by name; the name is empty for the output of a model that a task takes.
        output: Dimensions of the output or target; None if there is none.
    """

    inputs: Mapping[str, Dims]
    output: Dims | None


@cache
def parse_shapes(line: str) -> Shapes | None:
    """Return the parsed shape declaration; None if the line has no arrow.

    Raises:
        ValueError: The declaration is malformed, such as one with a missing parenthesis.
    """
    inputs, arrow, output_text = line.partition("->")
    if not arrow:
        return None
    if not _DECLARATION.fullmatch(line):
        raise ValueError(f"shapes: {line!r} given; expected inputs and an output, as in 'x (B, T, F) -> (B, C)'")
    pairs = re.findall(r"(\*{0,2}\w*)\s*\(([^)]*)\)", inputs)
    output = re.search(r"\(([^)]*)\)", output_text)
    return Shapes(
        {name: _parse_dims(dims) for name, dims in pairs},
        _parse_dims(output.group(1)) if output and output.group(1).strip() else None,
    )


def parse_alternatives(line: str) -> tuple[Shapes, ...]:
    """Return the parsed shape declarations of a model, which takes the inputs of any one of them.

    It is empty if the line has no arrow.

    Raises:
        ValueError: A declaration is malformed.
    """
    return tuple(shapes for part in line.split(" or ") if (shapes := parse_shapes(part)) is not None)


def _parse_dims(text: str) -> Dims:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def is_compatible(pattern: Dims, dims: Dims) -> bool:
    """Return whether dimensions match a pattern.

    The first dimension is what a batch counts (rows, nodes, graphs) and matches any other; the rest must be equal.

    Args:
        pattern: Expected dimensions. ``...`` at the end matches any further dimensions except those of token ids (S).
        dims: Dimensions to compare.
    """
    if "..." in pattern:
        num_named = len(pattern) - 1
        return len(dims) >= num_named and dims[1:num_named] == pattern[1:num_named] and "S" not in dims
    return len(pattern) == len(dims) and pattern[1:] == dims[1:]


def find_image_inputs(shapes: Shapes) -> tuple[str, ...]:
    """Return the names of the image inputs (B, C, H, W)."""
    return tuple(name for name, dims in shapes.inputs.items() if dims[1:] == ("C", "H", "W"))
