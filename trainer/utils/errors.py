"""What can go wrong for a user, each with the exit code the command ends with."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """A fault outside this program, told in a sentence and without a traceback."""

    exit_code = 1


class ConfigError(UserError):
    """Bad input: a key, a value, a pair that cannot fit, a file that is not what it should be."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UnknownNameError(ConfigError):
    """A key or an option that does not exist: a typo, which no other value of a sweep can mend."""


class IncompatibleError(ConfigError):
    """Options that do not go together, each of which may go with others: in a sweep, the matter of one job."""


class NonFiniteError(UserError):
    """A loss or gradient that is NaN or infinite; the weights are those of the step before."""

    exit_code = 3


class SystemFault(UserError):
    """Disk, memory, device or permission: the same command may work elsewhere."""

    exit_code = 4


class Interrupted(UserError):
    """Stopped by a signal after saving; what was running can be resumed by a command, if it is known."""

    def __init__(self, message: str, signal_number: int, command: str | None = None) -> None:
        super().__init__(f"{message}; go on with: {command}" if command else message)
        self.message = message
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


MAX_WORD_LENGTH = 200
"""Letters of a word that one may have mistyped; a cell that holds a text is no such word."""


def find_nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like the one given, if any is alike enough to be what was meant."""
    names = [name for name in known if len(name) <= MAX_WORD_LENGTH]
    if len(word) > MAX_WORD_LENGTH:
        return None
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return close[0]
    swapped = [name for name in names if sorted(name) == sorted(word)]
    starts = [name for name in names if len(word) > 1 and (name.startswith(word) or word.startswith(name))]
    return min(swapped or starts, key=len, default=None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean lstm?``, or nothing."""
    guess = find_nearest(word, known)
    return f"; did you mean {guess}?" if guess else ""


def find_nearest_dir(path: Path) -> Path:
    """The folder that a path names, or the nearest above it that there is."""
    try:
        whole = path.absolute()
    except FileNotFoundError:  # the working folder has been deleted
        whole = Path(os.sep, path)
    # Not Path.is_dir, which raises for a name that is too long or must not be looked at.
    return next(folder for folder in (whole, *whole.parents) if os.path.isdir(folder))


def describe_missing_path(path: Path) -> str:
    """That a path is not there and where the way to it ends; of what is there, what it is instead."""
    whole, there = path.absolute(), find_nearest_dir(path)
    if there == whole:
        inside = sorted(os.listdir(whole))[:5] if os.access(whole, os.R_OK) else ["what may not be read"]
        return f"{whole} is a folder, which holds {', '.join(inside) or 'nothing'}"
    if os.path.lexists(whole):
        return f"{whole} is a file"
    return f"{whole} is not there; the nearest folder that exists is {there}"
