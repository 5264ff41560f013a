"""Without asserts and docstrings, which ``python -OO`` leaves out, the same is trained."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import environment

COMMANDS = {
    "table": ["model=mlp", "data=moons", "epochs=1"],
    "images": ["model=cnn", "data=digits", "max_steps=3", "channels_last=true", "augment=nudge"],
}


def train(folder: Path, *flags: str, words: list[str]) -> list[dict[str, str]]:
    """The rows of metrics.csv, without the time they took."""
    where = [*words, "draw=false", "threads=1", "hydra.run.dir=run"]
    folder.mkdir()
    command = [sys.executable, *flags, "-m", "trainer", *where]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    with open(folder / "run" / "metrics.csv", encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_optimized_python_trains_identically(name: str, tmp_path: Path) -> None:
    usual = train(tmp_path / "usual", words=COMMANDS[name])
    assert usual
    assert "train_loss" in usual[0]
    assert train(tmp_path / "optimized", "-OO", words=COMMANDS[name]) == usual
