"""Shapes of a model's inputs and outputs, of a data set's batches and of a task's targets, as one line of text.

``x (B, T, F), lengths (B) -> (B, C)`` lists the named inputs of a model and its output, ``x (B, T, F) -> (B)`` what the
batches of a data set hold, ``(B, C, ...) -> (B, ...)`` which targets a task compares with which outputs. ``**inputs
(B, ...)`` takes every input of a data set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

Dims = tuple[str, ...]


@dataclass(frozen=True)
class Shapes:
    """Named inputs with their dims, and the dims of what comes out (None for nothing)."""

    inputs: Mapping[str, Dims]
    output: Dims | None


@cache
def parse_shapes(line: str) -> Shapes | None:
    """Parse a line of shapes; None if it has no arrow."""
    inputs, arrow, output_text = line.partition("->")
    if not arrow:
        return None
    pairs = re.findall(r"(\*{0,2}\w*)\s*\(([^)]*)\)", inputs)
    output = re.search(r"\(([^)]*)\)", output_text)
    return Shapes(
        {name: _parse_dims(dims) for name, dims in pairs},
        _parse_dims(output.group(1)) if output and output.group(1).strip() else None,
    )


def _parse_dims(text: str) -> Dims:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def is_compatible(pattern: Dims, dims: Dims) -> bool:
    """Whether dims fit a pattern: same letters, but for the first, and ``...`` for any rest but token ids (S).

    The first letter is what is counted (rows, nodes, graphs); a model need not care which.
    """
    if "..." in pattern:
        num_named = len(pattern) - 1
        return len(dims) >= num_named and dims[1:num_named] == pattern[1:num_named] and "S" not in dims
    return len(pattern) == len(dims) and pattern[1:] == dims[1:]


def find_image_inputs(shapes: Shapes) -> tuple[str, ...]:
    """The inputs (B, C, H, W)."""
    return tuple(name for name, dims in shapes.inputs.items() if dims[1:] == ("C", "H", "W"))
