"""A run goes on with best weights that are those its last state speaks of, or later ones that it finds anew."""

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
from trainer.utils.errors import ConfigError, Interrupted

WORDS = ("epochs=6", "val_every=2", "model.dropout=0.2", "draw=false", "save_every=0", "optimizer.lr=0.01")
STEPS = 3  # an epoch


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, and beside it the folder as it was after each file that it saved, by file and step."""
    root = tmp_path_factory.mktemp("moments")
    before, save = os.getcwd(), checkpoint.save_checkpoint
    os.chdir(root)

    def watched(state: dict[str, Any], path: Path) -> None:
        save(state, path)
        # Of two states of one step, before and after its validation, the first.
        step = state["step"] if path.name == BEST else state["position"]["step"]
        copy = root / f"{path.name}-{step}"
        if not copy.exists():
            shutil.copytree(path.parent, copy)

    checkpoint.save_checkpoint = watched
    try:
        run(*WORDS, "hydra.run.dir=whole")
    finally:
        checkpoint.save_checkpoint = save
        os.chdir(before)
    return root


def at(moments: Path, name: str, where: Path, best: int | None = None) -> Path:
    """The folder of a run that was killed at a moment, or with the best weights of a later step."""
    path = where / "run"
    shutil.copytree(moments / name, path)
    if best is not None:
        shutil.copy(moments / f"{BEST}-{best}" / BEST, path)
    said = json.loads((path / "results.json").read_text())
    (path / "results.json").write_text(json.dumps(said | {"status": "interrupted", "folder": str(path)}))
    return path


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


def outcome(path: Path) -> tuple[str, str, dict[str, float], int | None]:
    best = checkpoint.load_checkpoint(path / BEST)
    said = Result.read(path)
    return digest(checkpoint.load_checkpoint(path / LAST)), digest(best), said.test, said.best_epoch


def bests(moments: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in moments.glob(f"{BEST}-*"))


@pytest.mark.parametrize("steps", [0, 1, STEPS, 2 * STEPS - 1])
def test_best_weights_of_an_interrupted_save_are_found_again(steps: int, moments: Path, tmp_path: Path) -> None:
    """They were written first, and the state before is of some steps earlier."""
    later = bests(moments)[1:]
    assert later, "the run has improved more than once"
    for step in later:
        path = at(moments, f"{LAST}-{step - steps}", tmp_path / str(step), step)
        assert checkpoint.load_checkpoint(path / LAST)["best"]["step"] < step, "the last state does not know of them"
        train.resume_run(saved_run.load(path))
        assert outcome(path) == outcome(moments / "whole")


def test_later_weights_are_not_those_that_are_tested(moments: Path, tmp_path: Path) -> None:
    """They are told of nowhere but in their own file, and the run that goes on does not believe it."""
    step = bests(moments)[1]
    path = at(moments, f"{LAST}-{step - STEPS}", tmp_path, step)
    edit(path / BEST, lambda best: [value.zero_() for value in best["task"].values()])
    edit(path / BEST, lambda best: best.update(score=1.0))
    train.resume_run(saved_run.load(path))
    assert outcome(path) == outcome(moments / "whole")


@pytest.mark.slow
def test_interrupts_before_best_weights_are_found_change_nothing(
    moments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = bests(moments)[1]
    path = at(moments, f"{LAST}-{best - STEPS}", tmp_path, best)
    for step in (best - STEPS + 1, best - STEPS + 2):
        with monkeypatch.context() as patch:
            send_signal_at(patch, step, signal.SIGTERM)
            with pytest.raises(Interrupted):
                train.resume_run(saved_run.load(path))
        state = checkpoint.load_checkpoint(path / LAST)
        assert (state["position"]["step"], state["best"]["score"]) == (step, None)
    train.resume_run(saved_run.load(path))
    assert outcome(path) == outcome(moments / "whole")


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "earlier": (lambda best: best.update(step=1), r"best\.pt: step is 1; last\.pt, of step"),
    "of no moment": (lambda best: best.update(step=None, epoch=None, score=None), r"best\.pt: step is None"),
    "of another score": (lambda best: best.update(score=0.123), r"best\.pt: score is 0\.123; last\.pt has"),
    "of another epoch": (lambda best: best.update(epoch=1), r"best\.pt: epoch is 1; last\.pt has"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_best_weights_of_another_moment_are_refused(name: str, moments: Path, tmp_path: Path) -> None:
    change, said = CHANGES[name]
    path = at(moments, f"{LAST}-{bests(moments)[1] + 1}", tmp_path)
    edit(path / BEST, change)
    with pytest.raises(ConfigError, match=said):
        train.resume_run(saved_run.load(path))


def test_weights_later_than_a_run_that_is_over_are_refused(moments: Path, tmp_path: Path) -> None:
    path = at(moments, "whole", tmp_path)
    edit(path / BEST, lambda best: best.update(step=99))
    with pytest.raises(ConfigError, match=r"best\.pt: has weights of step 99; last\.pt of a run that is over"):
        train.resume_run(saved_run.load(path))
