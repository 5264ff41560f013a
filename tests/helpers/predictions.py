"""Predictions of saved runs through the command line."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.helpers.own_runs import train_run
from trainer.cli import main

Rows = list[dict[str, Any]]


class MovedRun(NamedTuple):
    """A small run in another folder than it was trained in, whose training files are deleted.

    Attributes:
        path: Run directory.
        test_rows: Predictions for its test rows, from before.
    """

    path: Path
    test_rows: Rows

    @property
    def scores(self) -> dict[str, float]:
        """Reported test scores."""
        scores: dict[str, float] = json.loads((self.path / "results.json").read_text())["test"]
        return scores


class MovedRuns(dict[str, MovedRun]):
    """Runs that are trained when they are first used.

    Args:
        overrides: Data set and further overrides of each run, by name.
        make_folder: Function that makes a new folder.
    """

    def __init__(self, overrides: Mapping[str, Sequence[str]], make_folder: Callable[[str], Path]):
        self.overrides = overrides
        self.make_folder = make_folder

    def __missing__(self, name: str) -> MovedRun:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.make_folder(name))
            path = train_run(*self.overrides[name])
            rows = predict(path)
            shutil.rmtree("files", ignore_errors=True)
            moved = Path(shutil.move(path, self.make_folder(name) / "moved")).absolute()
        self[name] = MovedRun(moved, rows)
        return self[name]


def predict(run: Path, *arguments: str) -> Rows:
    """Run ``train predict`` and return the rows that it writes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "predictions.jsonl")
        assert main.run_command(["predict", str(run), f"output={file}", *arguments]) == 0
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def predict_lines(run: Path, lines: list[str], *arguments: str) -> Rows:
    """Predict the lines of a text file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "lines.txt")
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return predict(run, f"input={file}", *arguments)


def are_close(one: Rows, other: Rows, tolerance: float = 1e-6) -> bool:
    """Return whether predictions are equal, numbers up to a tolerance."""
    return len(one) == len(other) and all(
        row.keys() == twin.keys() and all(_is_close(row[key], twin[key], tolerance) for key in row)
        for row, twin in zip(one, other, strict=True)
    )


def _is_close(value: Any, twin: Any, tolerance: float) -> bool:
    if isinstance(value, float) and isinstance(twin, float):
        return abs(value - twin) <= tolerance * max(1.0, abs(value))
    return bool(value == twin)
