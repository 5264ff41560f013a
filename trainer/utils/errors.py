"""Exceptions for faults that a user can cause or must know, each with the exit code of the command."""

from __future__ import annotations


class UserError(Exception):
    """Base class of errors that are reported in a sentence, without a traceback."""

    exit_code = 1


class ConfigError(UserError):
    """Invalid input: a key, a value, options that are incompatible, a file of the wrong kind."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DataError(ValueError):
    """Invalid data files or data options, raised by data sets and readers, which do not know the configuration.

    Whoever builds a data set from a configuration turns it into a ``ConfigError`` with the key.

    Args:
        problems: One sentence each. One that is about an argument begins with its name: ``"path: no such file"``.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UnknownNameError(ConfigError):
    """A key or an option that does not exist: a typo, which stops a whole sweep."""


class IncompatibleError(ConfigError):
    """Options that do not fit each other, though each fits others: in a sweep, only this job fails."""


class NonFiniteError(UserError):
    """A loss or gradient that is NaN or infinite; the weights are those of the step before."""

    exit_code = 3


class SystemFault(UserError):
    """A fault of disk, memory, device or permissions: the same command may work elsewhere."""

    exit_code = 4


class Interrupted(UserError):
    """A stop by a signal, after saving; ``command`` resumes what was running, if it is known."""

    def __init__(self, message: str, signal_number: int, command: str | None = None) -> None:
        super().__init__(f"{message}; go on with: {command}" if command else message)
        self.message = message
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
