"""Absolute names of imported objects, read from the import statements of a file."""

from __future__ import annotations

import ast
from pathlib import Path

from trainer.config import plugins


def find_absolute_name(name: str, tree: ast.Module, path: Path) -> str | None:
    """Return the absolute dotted name of an object that a file imports, or None if it imports no such object.

    Imports under ``TYPE_CHECKING`` count, because ``trainer/__init__.py`` lists its lazy exports there.

    Args:
        name: Name in the file, such as ``Base``, ``base.Base`` or ``torch.optim.Adam``.
        tree: Syntax tree of the file.
        path: Path of the file.
    """
    first, _, rest = name.partition(".")
    body = tree.body
    for node in (*body, *(inner for outer in body if isinstance(outer, ast.If) for inner in outer.body)):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            if isinstance(node, ast.ImportFrom) and first == (alias.asname or alias.name):
                module = _find_absolute_module(node, path)
                return None if module is None else ".".join(filter(None, (module, alias.name, rest)))
            if isinstance(node, ast.Import) and first == alias.asname:
                return f"{alias.name}.{rest}"
            if isinstance(node, ast.Import) and alias.asname is None and first == alias.name.partition(".")[0]:
                return name
    return None


def _find_absolute_module(node: ast.ImportFrom, path: Path) -> str | None:
    """Return the absolute module of a from-import; None for a relative one outside of a declared package."""
    if not node.level:
        return node.module
    package = plugins.find_package(path)
    parts = package.split(".") if package else []
    if node.level > len(parts):
        return None
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
