"""Commands on saved runs, as messages and pages give them to copy."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from trainer.runs import saved_run
from trainer.utils.errors import ConfigError


def format_command(verb: str, path: Path, plugins: Sequence[str]) -> str:
    """Return a command on a run.

    Args:
        verb: Name of the command, such as ``resume``.
        path: The run directory.
        plugins: Modules of the user that the run needs, which only a command line may name.
    """
    return f"train {verb} {shlex.quote(str(path))}" + (f" plugins=[{','.join(plugins)}]" if plugins else "")


def format_saved_command(verb: str, path: Path) -> str:
    """Return a command on a run, whose plugins are those of its configuration.

    Args:
        verb: Name of the command.
        path: The run directory.
    """
    return format_command(verb, path, read_plugins(path))


def read_plugins(path: Path) -> list[str]:
    """Return the plugins of a saved run; none if its configuration cannot be read.

    Args:
        path: The run directory.
    """
    try:
        names = saved_run.read_config(path)[0].get("plugins")
    except ConfigError:
        names = None
    return [str(name) for name in names] if isinstance(names, list) else []
