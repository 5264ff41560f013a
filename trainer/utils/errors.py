"""Exceptions that are reported to the user in a sentence, each with the exit code of the command."""

from __future__ import annotations


class UserError(Exception):
    """Base class of errors that are reported without a traceback."""

    exit_code = 1


class ConfigError(UserError):
    """Invalid input: a key, a value, incompatible options, or a file of the wrong kind.

    Args:
        problems: One sentence each, beginning with the configuration key.
    """

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DataError(ValueError):
    """Invalid data files or data options, raised by data sets and readers, which do not know the configuration.

    The code that builds a data set from a configuration converts it to a ``ConfigError`` with the key.

    Args:
        problems: One sentence each. A problem of an argument begins with its name: ``"path: no such file"``.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UnknownNameError(ConfigError):
    """Key or option that does not exist, usually a typo; it stops a whole sweep."""


class IncompatibleError(ConfigError):
    """Options that are incompatible with each other; in a sweep, only this job fails."""


class NonFiniteError(UserError):
    """NaN or infinite loss or gradient; the weights are those of the previous step."""

    exit_code = 3


class ExportError(UserError):
    """Exported file that computes something else than the model; it is not kept."""


class SystemFault(UserError):
    """Failure of disk, memory, device or permissions; the same command may work on another machine."""

    exit_code = 4


class Interrupted(UserError):
    """Stop by a signal, after saving.

    Args:
        message: What was stopped, for the user.
        signal_number: Number of the signal; the exit code is 128 plus this number.
        command: Command that resumes it, if there is one.
        is_early_warning: Whether a job scheduler has announced the end of the time or a preemption.
    """

    def __init__(
        self, message: str, signal_number: int, command: str | None = None, *, is_early_warning: bool = False
    ) -> None:
        super().__init__(f"{message}; resume with: {command}" if command else message)
        self.message = message
        self.signal_number = signal_number
        self.is_early_warning = is_early_warning
        self.exit_code = 128 + signal_number


PAUSED_CODE = 75
"""Exit code of a run that a search has paused, that of a temporary failure in BSD's sysexits.h."""


class Paused(Interrupted):
    """Planned stop of a run after a number of steps, after saving.

    Args:
        step: Number of steps it has taken.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"paused after step {step}", 0)
        self.exit_code = PAUSED_CODE
