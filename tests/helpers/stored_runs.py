"""Runs of earlier versions that are kept in ``tests/formats``."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest


def copy_runs(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy stored runs into an empty folder, which becomes the working directory."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the rows of a ``metrics.csv`` without the times."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{key: float(value) for key, value in row.items() if key != "seconds"} for row in rows]
