"""Exit codes of errors."""

from __future__ import annotations

import signal

from trainer.utils import errors


def test_every_fault_has_its_exit_code() -> None:
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


def test_problems_stand_one_a_line() -> None:
    error = errors.ConfigError("a: b", "c: d")
    assert (str(error), error.problems) == ("a: b\nc: d", ("a: b", "c: d"))
