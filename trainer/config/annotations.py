"""Types named by annotations in source code, limited to the types that a configuration may contain."""

from __future__ import annotations

import ast
from functools import reduce
from operator import or_
from typing import Any, Literal

from trainer.core.types import ANNOTATION_TYPES

UNCHECKED_TYPE = object
"""Type of a parameter whose annotation contains other names; every value is valid."""


def resolve_annotation(annotation: ast.expr | None) -> Any:
    """Return the type that an annotation names, limited to the types that a configuration may contain.

    Args:
        annotation: Syntax tree of the annotation; None for a parameter without one.

    Returns:
        ``UNCHECKED_TYPE`` for any other annotation.
    """
    match annotation:
        case ast.Constant(value=None):
            return type(None)
        case ast.Constant(value=str(text)):
            return resolve_annotation(ast.parse(text, mode="eval").body)
        case ast.Name(id=name) if name in ANNOTATION_TYPES:
            return ANNOTATION_TYPES[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            members = [resolve_annotation(member) for member in (left, right) if not _is_unconfigurable(member)]
            return UNCHECKED_TYPE if UNCHECKED_TYPE in members or {*members} <= {type(None)} else reduce(or_, members)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            try:
                value = ast.literal_eval(inner)
            except ValueError:
                return UNCHECKED_TYPE
            return Literal[value]
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in ANNOTATION_TYPES:
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            kinds = tuple(
                ... if isinstance(i, ast.Constant) and i.value is ... else resolve_annotation(i) for i in items
            )
            return (
                UNCHECKED_TYPE
                if UNCHECKED_TYPE in kinds
                else ANNOTATION_TYPES[name][kinds if len(kinds) > 1 else kinds[0]]
            )
    return UNCHECKED_TYPE


def _is_unconfigurable(annotation: ast.expr) -> bool:
    """Return whether no configuration can contain values of a type, as for tensors and functions."""
    match annotation:
        case ast.Name(id="Tensor") | ast.Subscript(value=ast.Name(id="Callable")):
            return True
        case ast.Subscript(value=ast.Name(), slice=inner):
            return not isinstance(inner, ast.Constant | ast.Tuple) and _is_unconfigurable(inner)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _is_unconfigurable(left) and _is_unconfigurable(right)
    return False
