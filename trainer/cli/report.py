"""The command ``train report``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.utils.errors import ConfigError


def print_leaderboard(arguments: Sequence[str]) -> int:
    """Run ``train report [DIR]``.

    Args:
        arguments: Words after ``train report``: a directory, or none for ``outputs``.

    Raises:
        ConfigError: There are several arguments, or the directory does not exist.
    """
    from trainer.runs import leaderboard

    if len(arguments) > 1:
        raise ConfigError("train report takes one directory")
    leaderboard.show_leaderboard(Path(arguments[0] if arguments else "outputs"))
    return 0
