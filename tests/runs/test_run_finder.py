"""The newest run whose results match."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.commands import write
from trainer.runs import run_finder


def has_identity(wanted: str) -> Callable[[dict[str, Any]], bool]:
    return lambda results: results.get("identity") == wanted


def test_find_run_returns_the_newest_unfinished_run_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, (identity, status) in enumerate(
        [("a", "interrupted"), ("a", "interrupted"), ("a", "finished"), ("b", "interrupted"), ("c", "finished")]
    ):
        results = json.dumps({"identity": identity, "status": status})
        path = write(tmp_path / "outputs", {f"{number}/results.json": results})
        os.utime(path / str(number) / "results.json", (number, number))
    assert run_finder.find_run(has_identity("a"), Path("elsewhere")) == Path("outputs/1")
    assert run_finder.find_run(has_identity("b"), Path("elsewhere")) == Path("outputs/3")
    assert run_finder.find_run(has_identity("c"), Path("elsewhere")) == Path("outputs/4")
    assert run_finder.find_run(has_identity("d"), Path("elsewhere")) is None
    assert run_finder.find_run(has_identity("a"), Path("elsewhere"), "1") == Path("outputs/1")
    assert run_finder.find_run(has_identity("a"), Path("elsewhere"), "[0-9]") is None
    (tmp_path / "named").mkdir()
    assert run_finder.find_run(has_identity("a"), Path("named")) is None, "the search must stay in the given folder"
