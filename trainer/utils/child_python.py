"""Modules of this package as programs in child processes."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path


def make_command(module: str, *arguments: str) -> list[str]:
    """Return the command line of a module of this package.

    The working directory is not on its import path (``-P``): a file of the user such as ``secrets.py`` would replace a
    module of the standard library.

    Args:
        module: Name of the module.
        *arguments: Arguments of the program.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def list_path_variables() -> dict[str, str]:
    """Return the environment variables with which a child process finds a checkout that is not installed."""
    folder = str(Path(__file__).parents[2])
    if folder in sysconfig.get_paths().values():
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))}
