"""Checkpoints in a run directory: those of every run, and those that keys keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.in_process import run
from trainer.engine import checkpoint

pytestmark = pytest.mark.usefixtures("in_tmp")


def list_checkpoints(*overrides: str) -> list[str]:
    """Run 6 steps and list the checkpoints of the run."""
    path = Path(run("epochs=2", "save_every=null", *overrides).run_dir)
    return sorted(file.stem for file in path.glob("*.pt"))


def test_save_every_steps_sets_the_interval_of_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    save = checkpoint.save_checkpoint

    def record_step(state: dict[str, Any], path: Path) -> None:
        steps.extend([state["position"]["step"]] if path.name == checkpoint.LAST else [])
        save(state, path)

    monkeypatch.setattr(checkpoint, "save_checkpoint", record_step)
    run("epochs=2", "save_every=null", "save_every_steps=2")
    assert steps == [2, 4, 6, 6]


def test_keep_last_keeps_states_by_step() -> None:
    assert list_checkpoints("save_every_steps=1", "keep_last=3") == [
        *("best", "last", "previous", "step_4", "step_5", "step_6")
    ]


def test_keep_every_saves_and_keeps_states() -> None:
    assert list_checkpoints("keep_every=2") == ["best", "last", "previous", "step_2", "step_4", "step_6"]


def test_keep_best_keeps_weights_by_step() -> None:
    assert list_checkpoints("keep_best=2") == ["best", "best_3", "best_6", "last"]


def test_by_default_there_are_three() -> None:
    assert list_checkpoints("save_every=0") == ["best", "last", "previous"]
