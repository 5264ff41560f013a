"""Agreement of best.pt and last.pt when a run is resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.digest import digest
from tests.helpers.in_process import run, send_signal_at
from trainer.engine import checkpoint
from trainer.engine.checkpoint import BEST, LAST
from trainer.runs import saved_run, train
from trainer.runs.results import Result
from trainer.utils.atomic_write import TEMP_FILE_PATTERN
from trainer.utils.errors import ConfigError, Interrupted

OVERRIDES = ("epochs=6", "val_every=2", "model.dropout=0.2", "draw=false", "save_every=0", "optimizer.lr=0.01")
STEPS = 3  # an epoch


@pytest.fixture(scope="module")
def saved_states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run; copy its directory after each save under the name of the file and the step."""
    root = tmp_path_factory.mktemp("moments")
    before, save = os.getcwd(), checkpoint.save_checkpoint
    os.chdir(root)

    def save_and_copy(state: dict[str, Any], path: Path) -> None:
        save(state, path)
        # Of two states of one step, before and after its validation, the first.
        step = state["step"] if path.name == BEST else state["position"]["step"]
        copy = root / f"{path.name}-{step}"
        if not copy.exists():
            # The loop goes on while this file is written, and its temporary files come and go.
            shutil.copytree(path.parent, copy, ignore=shutil.ignore_patterns(TEMP_FILE_PATTERN))

    checkpoint.save_checkpoint = save_and_copy
    try:
        run(*OVERRIDES, "hydra.run.dir=whole")
    finally:
        checkpoint.save_checkpoint = save
        os.chdir(before)
    return root


def copy_interrupted_run(saved_states: Path, name: str, folder: Path, best: int | None = None) -> Path:
    """Copy a saved state as an interrupted run, optionally with the best weights of a later step."""
    path = folder / "run"
    shutil.copytree(saved_states / name, path)
    if best is not None:
        shutil.copy(saved_states / f"{BEST}-{best}" / BEST, path)
    results = json.loads((path / "results.json").read_text())
    (path / "results.json").write_text(json.dumps(results | {"status": "interrupted", "run_dir": str(path)}))
    return path


def edit_checkpoint(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


def outcome(path: Path) -> tuple[str, str, dict[str, float], int | None]:
    best = checkpoint.load_checkpoint(path / BEST)
    results = Result.read(path)
    return digest(checkpoint.load_checkpoint(path / LAST)), digest(best), results.test, results.best_epoch


def best_steps(saved_states: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in saved_states.glob(f"{BEST}-*"))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 1, STEPS, 2 * STEPS - 1])
def test_best_weights_newer_than_last_checkpoint_are_recomputed(steps: int, saved_states: Path, tmp_path: Path) -> None:
    """best.pt is written before last.pt, so a kill between them leaves a last.pt of an earlier step."""
    later = best_steps(saved_states)[1:]
    assert later, "the run must improve more than once"
    for step in later:
        path = copy_interrupted_run(saved_states, f"{LAST}-{step - steps}", tmp_path / str(step), step)
        assert checkpoint.load_checkpoint(path / LAST)["best"]["step"] < step, (
            "last.pt must not contain the newer weights"
        )
        train.resume_run(saved_run.load(path))
        assert outcome(path) == outcome(saved_states / "whole")


@pytest.mark.slow
def test_edited_newer_best_weights_are_recomputed(saved_states: Path, tmp_path: Path) -> None:
    """Their score is in their own file alone, which a resumed run does not trust."""
    step = best_steps(saved_states)[1]
    path = copy_interrupted_run(saved_states, f"{LAST}-{step - STEPS}", tmp_path, step)
    edit_checkpoint(path / BEST, lambda best: [value.zero_() for value in best["task"].values()])
    edit_checkpoint(path / BEST, lambda best: best.update(score=1.0))
    train.resume_run(saved_run.load(path))
    assert outcome(path) == outcome(saved_states / "whole")


@pytest.mark.slow
def test_interrupts_before_best_weights_are_recomputed_change_nothing(
    saved_states: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = best_steps(saved_states)[1]
    path = copy_interrupted_run(saved_states, f"{LAST}-{best - STEPS}", tmp_path, best)
    for step in (best - STEPS + 1, best - STEPS + 2):
        with monkeypatch.context() as patch:
            send_signal_at(patch, step, signal.SIGTERM)
            with pytest.raises(Interrupted):
                train.resume_run(saved_run.load(path))
        state = checkpoint.load_checkpoint(path / LAST)
        assert (state["position"]["step"], state["best"]["score"]) == (step, None)
    train.resume_run(saved_run.load(path))
    assert outcome(path) == outcome(saved_states / "whole")


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "earlier step": (lambda best: best.update(step=1), r"best\.pt: step is 1; last\.pt, of step"),
    "no step": (lambda best: best.update(step=None, epoch=None, score=None), r"best\.pt: step is None"),
    "other score": (lambda best: best.update(score=0.123), r"best\.pt: score is 0\.123; last\.pt has"),
    "other epoch": (lambda best: best.update(epoch=1), r"best\.pt: epoch is 1; last\.pt has"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_best_weights_that_contradict_last_checkpoint_raise(name: str, saved_states: Path, tmp_path: Path) -> None:
    change, message = CHANGES[name]
    path = copy_interrupted_run(saved_states, f"{LAST}-{best_steps(saved_states)[1] + 1}", tmp_path)
    edit_checkpoint(path / BEST, change)
    with pytest.raises(ConfigError, match=message):
        train.resume_run(saved_run.load(path))


def test_best_weights_newer_than_a_finished_run_raise(saved_states: Path, tmp_path: Path) -> None:
    path = copy_interrupted_run(saved_states, "whole", tmp_path)
    edit_checkpoint(path / BEST, lambda best: best.update(step=99))
    with pytest.raises(ConfigError, match=r"best\.pt: has weights of step 99; last\.pt of a run that is over"):
        train.resume_run(saved_run.load(path))
