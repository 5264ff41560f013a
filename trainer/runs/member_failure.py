"""Failures of several nested runs as one error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainer.utils.errors import ConfigError, SystemFault, UserError
from trainer.utils.text import format_count


class MemberFailure(UserError):
    """Failure of some or all of several nested runs; the exit code is that of the first.

    Args:
        failures: Error of each run that has failed, by run directory.
        total: Number of all runs.
    """

    def __init__(self, failures: Mapping[Path, UserError], total: int) -> None:
        (path, first), *others = failures.items()
        lines = [f"{len(failures)} of {format_count(total, 'member')} failed", f"{path}: {first}"]
        super().__init__("\n".join([*lines, *(f"{other}: {str(error).splitlines()[0]}" for other, error in others)]))
        self.exit_code = first.exit_code


def join_failures(failures: Mapping[Path, Exception], total: int) -> Exception:
    """Return the failures of nested runs as one error: an internal error, what rejects all of them, or a list.

    Args:
        failures: Error of each run that has failed, by run directory; at least one.
        total: Number of all runs.
    """
    user_errors = {path: error for path, error in failures.items() if isinstance(error, UserError)}
    internal = next((error for error in failures.values() if not isinstance(error, UserError)), None)
    if internal is not None:
        return internal
    first = next(iter(failures.values()))
    is_rejection = all(isinstance(error, ConfigError | SystemFault) for error in failures.values())
    if is_rejection and len(failures) == total:
        return first
    return MemberFailure(user_errors, total)
