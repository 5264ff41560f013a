"""Exit codes and problems of errors."""

from __future__ import annotations

import signal

from trainer.utils import errors


def test_exit_code_of_each_error_class() -> None:
    codes = {
        errors.UserError: 1,
        errors.ConfigError: 2,
        errors.UnknownNameError: 2,
        errors.NonFiniteError: 3,
        errors.SystemFault: 4,
    }
    assert {kind: kind.exit_code for kind in codes} == codes
    assert errors.Interrupted("", signal.SIGINT).exit_code == 130
    assert errors.Interrupted("", signal.SIGTERM).exit_code == 143


def test_problems_are_joined_by_newlines() -> None:
    error = errors.ConfigError("a: b", "c: d")
    assert (str(error), error.problems) == ("a: b\nc: d", ("a: b", "c: d"))
