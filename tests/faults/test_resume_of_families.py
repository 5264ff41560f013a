"""Every model family resumes bit-exactly after a stop within an epoch and after one at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.digest import digest
from tests.helpers.families import COMMON, FAMILIES
from tests.helpers.lab import lab
from tests.helpers.tiny import StopAt
from trainer.engine import checkpoint
from trainer.engine.checkpoint import CheckpointManager
from trainer.engine.trainer import Trainer
from trainer.utils.errors import Interrupted

KINDS = {"plain": "accumulate=1", "accumulated": "accumulate=2"}


def run(overrides: tuple[str, ...], folder: Path, stop_at: int | None) -> Trainer:
    """Train in new objects, from the last checkpoint of a folder if there is one, to a step or to the end."""
    callback = None if stop_at is None else StopAt(stop_at)
    trainer = lab(*overrides, manager=CheckpointManager(folder, {}), callback=callback).trainer
    if (folder / checkpoint.LAST).exists():
        state = checkpoint.load_newest(folder)
        best = checkpoint.load_checkpoint(folder / checkpoint.BEST) if state["best"]["step"] else None
        trainer.load_state_dict(state, best)
    if stop_at is None:
        trainer.fit()
    else:
        with pytest.raises(Interrupted):
            trainer.fit()
        assert trainer.step == stop_at
    return trainer


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_resumed_run_equals_an_uninterrupted_one(family: str, kind: str, tmp_path: Path) -> None:
    overrides = (*FAMILIES[family], *COMMON, KINDS[kind])
    folders = [tmp_path / name for name in ("whole", "middle", "end")]
    for folder in folders:
        folder.mkdir()
    whole = run(overrides, folders[0], None)
    expected = digest(whole.state_dict() | {"best weights": whole.best.weights})
    steps_an_epoch = whole.total_steps // 3
    for folder, stop in zip(folders[1:], (steps_an_epoch + max(1, steps_an_epoch // 2), steps_an_epoch), strict=True):
        run(overrides, folder, stop)
        resumed = run(overrides, folder, None)
        assert digest(resumed.state_dict() | {"best weights": resumed.best.weights}) == expected
