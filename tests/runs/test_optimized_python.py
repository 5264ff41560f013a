"""Training under ``python -OO``, which removes asserts and docstrings."""

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


def train(folder: Path, *flags: str, overrides: list[str]) -> list[dict[str, str]]:
    """Train in a new folder; return the rows of metrics.csv without their times."""
    arguments = [*overrides, "draw=false", "threads=1", "hydra.run.dir=run"]
    folder.mkdir()
    command = [sys.executable, *flags, "-m", "trainer", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    with open(folder / "run" / "metrics.csv", encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_optimized_python_trains_identically(name: str, tmp_path: Path) -> None:
    default = train(tmp_path / "default", overrides=COMMANDS[name])
    assert default
    assert "train_loss" in default[0]
    assert train(tmp_path / "optimized", "-OO", overrides=COMMANDS[name]) == default
