"""Runs of earlier versions that are kept in ``tests/formats``."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.golden.record import FILE as GOLDEN_LOSSES
from tests.golden.record import machine

IS_SAME_MACHINE = json.loads(GOLDEN_LOSSES.read_text())["machine"] == machine()


def copy_runs(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy stored runs into an empty folder, which becomes the working directory."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the rows of a ``metrics.csv`` without the times."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{key: float(value) for key, value in row.items() if key != "seconds"} for row in rows]


def assert_equal(found: Mapping[str, float | None], expected: Mapping[str, float | None]) -> None:
    """Compare to the bit on the machine that made the runs, with a tolerance elsewhere; JSON has null for NaN."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        both = tuple(math.nan if number is None else number for number in (found[key], value))
        tolerance = {"rel": 0.0, "abs": 0.0} if IS_SAME_MACHINE else {"rel": 1e-4, "abs": 1e-6}
        assert both[0] == pytest.approx(both[1], nan_ok=True, **tolerance), key
