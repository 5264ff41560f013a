"""Mutated inputs of every kind end in a sentence or in a run; more by hand: ``python -m tests.faults.fuzz``.

``TRAIN_FUZZ=COUNT[:SEED]`` in the environment tries so many instead of the few below.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import environment

ROOT = Path(__file__).parents[2]
FEW = {"overrides": 24, "folders": 24, "tables": 12, "pictures": 6, "texts": 6, "runs": 16, "states": 30, "foreign": 30}


def fuzz(*arguments: str, cwd: Path) -> str:
    command = [sys.executable, "-P", "-m", "tests.faults.fuzz", *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.slow
def test_mutated_overrides_and_run_directories_never_crash(tmp_path: Path) -> None:
    said = fuzz("--count", str(FEW["overrides"]), "--seed", "7", "--kinds", "overrides,folders", cwd=tmp_path)
    assert "0 wrong" in said


@pytest.mark.parametrize("kind", FEW)
@pytest.mark.slow
def test_mutated_inputs_never_crash(kind: str, tmp_path: Path) -> None:
    count, _, seed = os.environ.get("TRAIN_FUZZ", "").partition(":")
    assert "0 wrong" in fuzz("--count", count or str(FEW[kind]), "--seed", seed or "3", "--kinds", kind, cwd=tmp_path)


def test_the_check_would_report_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch itself: what is raised, what is printed and what hangs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train"])
    from tests.faults import fuzz as module

    def fails(_: object) -> int:
        raise ZeroDivisionError

    def prints(_: object) -> int:
        print("Traceback (most recent call last):")
        return 0

    def hangs(_: object) -> int:
        while True:
            pass

    monkeypatch.setattr(module, "SECONDS", 0.5)
    for dispatch, told in ((fails, "ZeroDivisionError"), (prints, "a traceback is printed"), (hangs, "hangs")):
        monkeypatch.setattr(module.cli, "run_command", dispatch)
        found = module.case("tables", 0, 0)
        assert found is not None
        assert told in found
    monkeypatch.setattr(module.cli, "run_command", lambda _: 0)
    assert module.case("tables", 0, 0) is None
