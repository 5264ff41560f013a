"""Runs that are interrupted and resumed from their checkpoints, and a hash over their state."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.digest import digest
from tests.helpers.tiny import MOMENTUM, PLATEAU, Linear, NoisyLeastSquares, StopAt, rows, tiny
from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.dataset_info import DatasetInfo
from trainer.data.augment.image_augment import Augment
from trainer.engine import checkpoint
from trainer.engine.checkpoint import CheckpointManager
from trainer.engine.trainer import Trainer
from trainer.utils.errors import Interrupted


def hash_state(trainer: Trainer) -> str:
    """Return a hash over all that a resume must reproduce, without generator states: their draws must show."""
    state = trainer.state_dict()
    del state["random"]
    return digest(state | {"best weights": trainer.best.weights})


StateChange = Callable[[dict[str, Any], dict[str, Any]], None]


@dataclass
class ResumedRun:
    """A run that is interrupted and resumed from its files in new objects."""

    make: Callable[..., Trainer]
    folder: Path

    def start(self, stop: StopAt, **changes: Any) -> Trainer:
        trainer = self.make(manager=CheckpointManager(self.folder, {}), callback=stop, **changes)
        self._train_until_interrupted(trainer, stop)
        return trainer

    def resume(self, stop: StopAt | None = None, change_state: StateChange | None = None, **changes: Any) -> Trainer:
        trainer = self.make(manager=CheckpointManager(self.folder, {}), callback=stop, **changes)
        state = checkpoint.load_newest(self.folder)
        best = checkpoint.load_checkpoint(self.folder / checkpoint.BEST) if state["best"]["step"] else None
        if change_state is not None:
            change_state(state, copy.deepcopy(trainer.state_dict()))
        trainer.load_state_dict(state, best)
        if stop is None:
            trainer.fit()
        else:
            self._train_until_interrupted(trainer, stop)
        return trainer

    @staticmethod
    def _train_until_interrupted(trainer: Trainer, stop: StopAt) -> None:
        with pytest.raises(Interrupted):
            trainer.fit()
        assert trainer.step == stop.at[0]


class Jitter(Augment):
    def __call__(self, batch: Batch, epoch: int) -> Batch:
        return Batch({"x": batch.inputs["x"] + rng.draw_uniform(batch.index, 3, 0, epoch)}, batch.target, batch.index)


def make_noisy_trainer(scheduler: dict[str, Any] = PLATEAU, **changes: Any) -> Trainer:
    """Build a trainer in which every part of the state matters."""
    defaults: dict[str, Any] = {
        "train": rows(22),
        "augment": Jitter(DatasetInfo(sizes={})),
        "optimizer": MOMENTUM,
        "epochs": 12,
        "ema": 0.6,
        "patience": 6,
        "batch_size": 3,
    }
    return tiny(NoisyLeastSquares(Linear()), scheduler=scheduler, **defaults | {"accumulate": 2} | changes)


STEPS_AN_EPOCH = 4  # 22 rows are 7 batches (the last single row joins the one before), and 4 steps
MID_EPOCH = 6 * STEPS_AN_EPOCH + 2


def drop_state(*path: str) -> StateChange:
    """Replace a part of the state by that of a new run."""

    def replace(state: dict[str, Any], fresh: dict[str, Any]) -> None:
        for key in path[:-1]:
            state, fresh = state[key], fresh[key]
        assert digest(state[path[-1]]) != digest(fresh[path[-1]]), "the states are equal: the test could not fail"
        state[path[-1]] = fresh[path[-1]]

    return replace
