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
    left, arrow, right = line.partition("->")
    if not arrow:
        return None
    pairs = re.findall(r"(\*{0,2}\w*)\s*\(([^)]*)\)", left)
    out = re.search(r"\(([^)]*)\)", right)
    return Shapes(
        {name: _parse_dims(dims) for name, dims in pairs},
        _parse_dims(out.group(1)) if out and out.group(1).strip() else None,
    )


def _parse_dims(text: str) -> Dims:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def is_compatible(wanted: Dims, given: Dims) -> bool:
    """Whether dims fit a pattern: same letters, but for the first, and ``...`` for any rest but token ids (S).

    The first letter is what is counted (rows, nodes, graphs); a model need not care which.
    """
    if "..." in wanted:
        named = len(wanted) - 1
        return len(given) >= named and given[1:named] == wanted[1:named] and "S" not in given
    return len(wanted) == len(given) and wanted[1:] == given[1:]


def find_image_inputs(shapes: Shapes) -> tuple[str, ...]:
    """The inputs (B, C, H, W)."""
    return tuple(name for name, dims in shapes.inputs.items() if dims[1:] == ("C", "H", "W"))
