"""Runs and command lines in the process of the test."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.commands import SMALL
from trainer.cli import main
from trainer.config import compose
from trainer.runs import run_report, train
from trainer.runs.results import Result


def run(*overrides: str) -> Result:
    """Train a small run; figures other than the curves, most of its time, are drawn only for a ``draw`` override."""
    # A run has one length.
    has_steps = any(override.startswith("max_steps=") for override in overrides)
    small = [override for override in SMALL if not (has_steps and override.startswith("epochs="))]
    figures = [] if any(override.startswith("draw") for override in overrides) else ["draw=false"]
    return train.run(compose.compose([*small, *figures, *overrides]))


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Read the rows of metrics.csv without wall-clock times."""
    with open(path / "metrics.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def send_signal_at(monkeypatch: pytest.MonkeyPatch, step: int, number: int) -> None:
    """Send a signal to this process once, after a step."""
    stepped = run_report.RunReporter.on_step_end
    sent = []

    def send_once(self: run_report.RunReporter, trainer: Any, metrics: Any) -> None:
        if trainer.step == step and not sent:
            sent.append(step)
            os.kill(os.getpid(), number)
        stepped(self, trainer, metrics)

    monkeypatch.setattr(run_report.RunReporter, "on_step_end", send_once)


def call_main(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str, str]:
    """Run a command line in this process; return the exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    with pytest.raises(SystemExit) as end:
        main.main()
    code = end.value.code
    assert isinstance(code, int)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def run_main(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """Run a command line in this process; return the exit code and stderr."""
    code, _, err = call_main(capsys, monkeypatch, *arguments)
    return code, err
