"""Copies of a program for exported models, and of the modules that it imports."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

PROGRAM, MODULES = "predict.py", "predict_modules"
"""File of the program, and package of the modules that it imports, in an export."""
PACKAGE = Path(__file__).parent.parent
PROGRAMS = PACKAGE / "export" / "standalone"
_IMPORT = re.compile(rf"^(\s*(?:from|import) ){PACKAGE.name}\.", re.MULTILINE)


def copy_program(name: str, directory: Path) -> None:
    """Copy a program as ``predict.py``, and the modules that it imports to ``predict_modules``.

    The copies are equal to the modules, except that they import each other from ``predict_modules``.

    Args:
        name: Name of the program, such as ``tables`` for ``predict_tables``.
        directory: Existing directory.
    """
    program = PROGRAMS / f"predict_{name}.py"
    for source in find_modules(program):
        target = directory / PROGRAM if source == program else directory / MODULES / source.relative_to(PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_IMPORT.sub(rf"\1{MODULES}.", source.read_text(encoding="utf-8")), encoding="utf-8")


def remove_program(directory: Path) -> None:
    """Remove the copies that ``copy_program`` has written to a directory, if any."""
    (directory / PROGRAM).unlink(missing_ok=True)
    shutil.rmtree(directory / MODULES, ignore_errors=True)


def find_modules(program: Path) -> list[Path]:
    """Return the files of a program and of the modules of this package that it loads when it starts, sorted.

    Imports within functions are those of other uses of a module, such as its tensors.

    Args:
        program: File of the program.
    """
    found, remaining = set[Path](), [program]
    while remaining:
        file = remaining.pop()
        if file not in found:
            found.add(file)
            remaining += _list_imports(file)
    return sorted(found)


def _list_imports(file: Path) -> Iterator[Path]:
    """Yield the files of the modules of this package that a file imports at its top level."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                source = PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py")
                if source.is_relative_to(PACKAGE) and source.is_file():
                    yield source
