"""Mutated inputs end in an error message or in a run; many more: ``python -m tests.faults.fuzz``.

``TRAIN_FUZZ=COUNT[:SEED]`` in the environment replaces the numbers of cases below.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import environment

ROOT = Path(__file__).parents[2]
CASES = {
    "overrides": 24,
    "folders": 24,
    "tables": 12,
    "pictures": 6,
    "texts": 6,
    "runs": 16,
    "states": 30,
    "foreign": 30,
    "hub_folders": 24,
}


def fuzz(*arguments: str, cwd: Path) -> str:
    command = [sys.executable, "-P", "-m", "tests.faults.fuzz", *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.slow
def test_mutated_overrides_and_run_directories_never_crash(tmp_path: Path) -> None:
    output = fuzz("--count", str(CASES["overrides"]), "--seed", "7", "--kinds", "overrides,folders", cwd=tmp_path)
    assert "0 wrong" in output


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.slow
def test_mutated_inputs_never_crash(kind: str, tmp_path: Path) -> None:
    count, _, seed = os.environ.get("TRAIN_FUZZ", "").partition(":")
    assert "0 wrong" in fuzz("--count", count or str(CASES[kind]), "--seed", seed or "3", "--kinds", kind, cwd=tmp_path)


@pytest.mark.slow
def test_fuzzer_detects_exceptions_tracebacks_and_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train"])
    from tests.faults import fuzz as module

    def raise_error(_: object) -> int:
        raise ZeroDivisionError

    def print_traceback(_: object) -> int:
        print("Traceback (most recent call last):")
        return 0

    def hang(_: object) -> int:
        while True:
            pass

    monkeypatch.setattr(module, "SECONDS", 0.5)
    for command, message in (
        (raise_error, "ZeroDivisionError"),
        (print_traceback, "a traceback is printed"),
        (hang, "hangs"),
    ):
        monkeypatch.setattr(module.cli, "run_command", command)
        found = module.run_case("tables", 0, 0)
        assert found is not None
        assert message in found
    monkeypatch.setattr(module.cli, "run_command", lambda _: 0)
    assert module.run_case("tables", 0, 0) is None
