"""A paused run continues from its checkpoint to the bits of a run that was never paused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.resumed_runs import hash_state
from tests.helpers.tiny import CYCLE, MOMENTUM, Linear, NoisyLeastSquares, tiny
from trainer.engine import checkpoint
from trainer.engine.checkpoint import CheckpointManager
from trainer.engine.pause_callback import PauseCallback, make_pause_callbacks
from trainer.engine.trainer import Trainer
from trainer.utils.errors import PAUSED_CODE, Paused

OPTIONS: dict[str, Any] = {"optimizer": MOMENTUM, "scheduler": CYCLE, "epochs": 6, "ema": 0.9, "save_every": None}


def make(folder: Path, pause_step: int | None = None, **changes: Any) -> Trainer:
    """Build a run of 6 epochs of 4 steps, with noise in its loss and its score."""
    folder.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    callbacks = make_pause_callbacks(pause_step)
    task = NoisyLeastSquares(Linear())
    options = OPTIONS | changes
    return tiny(task, manager=CheckpointManager(folder, {}), callback=callbacks[0] if callbacks else None, **options)


def resume(folder: Path, pause_step: int | None = None) -> Trainer:
    trainer = make(folder, pause_step)
    best = checkpoint.load_checkpoint(folder / checkpoint.BEST)
    trainer.load_state_dict(checkpoint.load_newest(folder), best)
    return trainer


def test_run_paused_twice_equals_one_that_was_not(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole")
    whole.fit()
    folder = tmp_path / "paused"
    for step, trainer in ((4, make(folder, 4)), (9, None)):
        with pytest.raises(Paused, match=f"paused after step {-(-step // 4) * 4}"):
            (trainer or resume(folder, step)).fit()
    last = resume(folder)
    assert (last.step, last.epoch, last.batch) == (12, 3, 0)
    last.fit()
    assert last.history[0].keys() == whole.history[0].keys()
    assert hash_state(last) == hash_state(whole)


def test_run_that_loses_its_optimizer_at_a_pause_differs(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole")
    whole.fit()
    folder = tmp_path / "paused"
    with pytest.raises(Paused):
        make(folder, 4).fit()
    twin = make(folder)
    fresh = twin.state_dict()["param_groups"]
    state = checkpoint.load_newest(folder)
    twin.load_state_dict(state | {"param_groups": fresh}, checkpoint.load_checkpoint(folder / checkpoint.BEST))
    twin.fit()
    assert hash_state(twin) != hash_state(whole)


def test_pause_comes_after_the_validation_of_its_epoch(tmp_path: Path) -> None:
    trainer = make(tmp_path, 5, val_every=1)
    with pytest.raises(Paused) as caught:
        trainer.fit()
    assert caught.value.exit_code == PAUSED_CODE
    saved = checkpoint.load_newest(tmp_path)
    assert [row["step"] for row in saved["history"]] == [4, 8]
    assert saved["position"] == {"epoch": 2, "batch": 0, "step": 8}


def test_run_that_was_paused_there_pauses_at_once(tmp_path: Path) -> None:
    with pytest.raises(Paused):
        make(tmp_path, 4).fit()
    again = resume(tmp_path, 4)
    with pytest.raises(Paused):
        again.fit()
    assert again.step == 4


@pytest.mark.parametrize("step", [24, 100])
def test_run_that_is_over_is_not_paused(tmp_path: Path, step: int) -> None:
    trainer = make(tmp_path, step)
    trainer.fit()
    assert trainer.is_finished()


def test_there_is_no_callback_without_a_step() -> None:
    assert make_pause_callbacks(None) == []
    (callback,) = make_pause_callbacks(3)
    assert isinstance(callback, PauseCallback)
    assert callback.state_dict() == {}
