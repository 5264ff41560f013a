"""Bit-exact resume: an interrupted run ends in the same state as an uninterrupted one."""

from __future__ import annotations

import math
import signal
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from tests.helpers.lab import lab
from tests.helpers.resumed_runs import (
    MID_EPOCH,
    STEPS_AN_EPOCH,
    ResumedRun,
    StateChange,
    drop_state,
    hash_state,
    make_noisy_trainer,
)
from tests.helpers.tiny import CYCLE, PLATEAU, Linear, NoisyLeastSquares, StopAt, tiny
from trainer.core.batch import Batch, Score
from trainer.engine import checkpoint
from trainer.engine.checkpoint import CheckpointManager
from trainer.engine.signal_callback import SignalCallback
from trainer.engine.trainer import Trainer
from trainer.utils import signals
from trainer.utils.errors import ConfigError, Interrupted

NETWORK = (
    *("model=lstm", "model.hidden_size=4", "model.num_layers=2", "model.dropout=0.3", "data=synthetic_seq"),
    *("data.rows=60", "data.length=3", "data.in_features=4", "batch_size=5", "accumulate=2", "epochs=3"),
    *("scheduler=onecycle", "optimizer=adamw", "optimizer.lr=1e-2", "ema=0.7", "patience=2", "grad_clip=1.0"),
)


def network(manager: Any = None, callback: Any = None) -> Trainer:
    return lab(*NETWORK, manager=manager, callback=callback).trainer


LAST_STEP = 12  # 36 rows, 8 batches, 4 steps an epoch, 3 epochs


@cache
def hash_uninterrupted_network() -> str:
    trainer = network()
    trainer.fit()
    assert trainer.step == LAST_STEP
    return hash_state(trainer)


@pytest.mark.parametrize(
    "step",
    [pytest.param(k, marks=[pytest.mark.slow] * (k not in (1, 4, 7, LAST_STEP))) for k in range(1, LAST_STEP + 1)],
)
def test_resume_after_any_step_is_bit_exact(tmp_path: Path, step: int) -> None:
    chain = ResumedRun(network, tmp_path)
    chain.start(StopAt(step))
    resumed = chain.resume()
    assert resumed.step == LAST_STEP
    assert [row["step"] for row in resumed.history] == [4, 8, 12]
    assert hash_state(resumed) == hash_uninterrupted_network()


@pytest.mark.parametrize("step", [4, 8, LAST_STEP])
def test_resume_from_within_validation_is_bit_exact(tmp_path: Path, step: int) -> None:
    chain = ResumedRun(network, tmp_path)
    chain.start(StopAt(step, training=False))
    assert hash_state(chain.resume()) == hash_uninterrupted_network()


@pytest.mark.parametrize("call", [5, 6, 7])
def test_a_signal_between_micro_batches_stops_after_the_step(call: int, tmp_path: Path) -> None:
    """The signal arrives in the first, second or last of the three batches of the second step."""

    def make(manager: Any, callback: Any = None, **_: Any) -> Trainer:
        return make_noisy_trainer(accumulate=4, epochs=3, manager=manager, callback=callback)

    flag = signals.StopFlag()
    flag.defer_stop()
    trainer = make(CheckpointManager(tmp_path, {}), SignalCallback(flag))
    calls, inner = count(1), trainer.loss_fn

    def send_signal(batch: Batch, group: str) -> Tensor:
        if next(calls) == call:
            flag.on_signal(signal.SIGTERM, None)
        return inner(batch, group)

    trainer.loss_fn = send_signal
    with pytest.raises(Interrupted):
        trainer.fit()
    position = checkpoint.load_newest(tmp_path)["position"]
    assert position == {"epoch": 0, "batch": 7, "step": 2}, "7 batches an epoch are 2 steps"
    whole = make(CheckpointManager(tmp_path / "whole", {}))
    (tmp_path / "whole").mkdir()
    whole.fit()
    assert hash_state(ResumedRun(make, tmp_path).resume()) == hash_state(whole)


def test_resuming_a_finished_run_does_nothing(tmp_path: Path) -> None:
    trainer = network(manager=CheckpointManager(tmp_path, {}))
    trainer.fit()
    assert hash_state(ResumedRun(network, tmp_path).resume()) == hash_state(trainer) == hash_uninterrupted_network()


def test_resume_after_many_interruptions_is_bit_exact(tmp_path: Path) -> None:
    chain = ResumedRun(network, tmp_path)
    chain.start(StopAt(1))
    for stop in (StopAt(3), StopAt(4), StopAt(4, training=False), StopAt(8), StopAt(11)):
        chain.resume(stop)
    assert hash_state(chain.resume()) == hash_uninterrupted_network()


@pytest.mark.parametrize("step", [2, STEPS_AN_EPOCH])
@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (2, 2)])
@pytest.mark.slow
def test_workers_are_bit_exact(tmp_path: Path, before: int, after: int, step: int) -> None:
    chain = ResumedRun(make_noisy_trainer, tmp_path)
    chain.start(StopAt(step), num_workers=before, epochs=2)
    assert hash_state(chain.resume(num_workers=after, epochs=2)) == hash_uninterrupted_noisy(epochs=2)


def hash_uninterrupted_noisy(**changes: Any) -> str:
    trainer = make_noisy_trainer(**changes)
    trainer.fit()
    return hash_state(trainer)


def record_rows(trainer: Trainer) -> list[int]:
    """Return a list that collects the rows of each training batch."""
    rows: list[int] = []
    inner = trainer.loss_fn

    def logged(batch: Batch, group: str) -> Tensor:
        rows.extend(batch.index.tolist())
        return inner(batch, group)

    trainer.loss_fn = logged
    return rows


@pytest.mark.parametrize("step", [2, STEPS_AN_EPOCH, STEPS_AN_EPOCH + 1])
def test_every_row_is_used_once_per_epoch_across_a_resume(tmp_path: Path, step: int) -> None:
    rows: list[list[int]] = []

    def make(**changes: Any) -> Trainer:
        trainer = make_noisy_trainer(epochs=3, **changes)
        rows.append(record_rows(trainer))
        return trainer

    make().fit()
    chain = ResumedRun(make, tmp_path)
    chain.start(StopAt(step))
    chain.resume()
    whole, first, second = rows
    assert first + second == whole
    assert first
    assert second
    for epoch in range(3):
        assert sorted(whole[22 * epoch : 22 * (epoch + 1)]) == list(range(22))


@pytest.mark.parametrize("scheduler", [PLATEAU, CYCLE])
@pytest.mark.parametrize("step", [1, STEPS_AN_EPOCH, MID_EPOCH])
def test_a_run_with_every_kind_of_state_resumes_bit_exactly(
    tmp_path: Path, scheduler: dict[str, Any], step: int
) -> None:
    chain = ResumedRun(make_noisy_trainer, tmp_path)
    chain.start(StopAt(step), scheduler=scheduler)
    assert hash_state(chain.resume(scheduler=scheduler)) == hash_uninterrupted_noisy(scheduler=scheduler)


class ProgressScore(NoisyLeastSquares):
    """Scores the progress of the run."""

    def score(self, batch: Batch) -> Score:
        return super().score(batch) | {"sum": self.progress.clone()}


@pytest.mark.parametrize("step", [3, STEPS_AN_EPOCH])
def test_improvement_tracking_survives_a_resume(tmp_path: Path, step: int) -> None:
    def make(**changes: Any) -> Trainer:
        return tiny(ProgressScore(Linear()), epochs=3, **changes)

    whole = make()
    whole.fit()
    assert len({row["val_mse"] for row in whole.history}) == 3
    chain = ResumedRun(make, tmp_path)
    chain.start(StopAt(step))
    assert hash_state(chain.resume()) == hash_state(whole)


DROPPED: dict[str, StateChange] = {
    "torch generator": drop_state("random", "torch"),
    "python generator": drop_state("random", "python"),
    "numpy generator": drop_state("random", "numpy"),
    "weights": drop_state("task"),
    "optimizer": drop_state("param_groups", "model", "optimizer"),
    "steps of the param group": drop_state("param_groups", "model", "steps"),
    "plateau": drop_state("param_groups", "model", "schedule"),
    "average": drop_state("param_groups", "model", "ema"),
    "batch offset": drop_state("position", "batch"),
    "epoch": drop_state("position", "epoch"),
    "step": drop_state("position", "step"),
    "best": drop_state("best"),
    "history": drop_state("history"),
    "running sums": drop_state("running_totals", "sums"),
    "running count": drop_state("running_totals", "steps"),
}


@pytest.mark.parametrize("name", DROPPED)
def test_dropping_a_part_of_the_state_changes_the_result(tmp_path: Path, name: str) -> None:
    scheduler = CYCLE if name == "steps of the param group" else PLATEAU
    chain = ResumedRun(make_noisy_trainer, tmp_path)
    chain.start(StopAt(MID_EPOCH), scheduler=scheduler)
    assert hash_state(chain.resume(scheduler=scheduler, change_state=DROPPED[name])) != hash_uninterrupted_noisy(
        scheduler=scheduler
    )


def test_state_with_a_missing_key_raises() -> None:
    trainer = make_noisy_trainer()
    state = trainer.state_dict()
    for name in state:
        with pytest.raises(ConfigError, match=f"lacks part of the state: {name}"):
            trainer.load_state_dict({key: value for key, value in state.items() if key != name}, None)


@pytest.mark.parametrize("step", range(2 * STEPS_AN_EPOCH, 5 * STEPS_AN_EPOCH))
def test_patience_continues_across_a_resume(tmp_path: Path, step: int) -> None:
    """The best epoch is 3 and patience ends at epoch 5 of 12, independent of the interruption."""

    def make(**changes: Any) -> Trainer:
        trainer = make_noisy_trainer(patience=2, **changes)
        scores = {1: 0.5, 2: 0.6, 3: 0.4, 4: math.nan, 5: 0.45}
        trainer.task.metrics = lambda _: {"mse": scores[trainer.epoch + 1]}  # type: ignore[method-assign,assignment]
        return trainer

    (tmp_path / "whole").mkdir()
    whole = make(manager=CheckpointManager(tmp_path / "whole", {}))
    whole.fit()
    assert (whole.epoch, whole.best.epoch, whole.best.score) == (5, 3, 0.4)
    (tmp_path / "cut").mkdir()
    chain = ResumedRun(make, tmp_path / "cut")
    chain.start(StopAt(step))
    assert hash_state(chain.resume()) == hash_state(whole)
    files = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("whole", "cut")]
    assert files[0] == [name for name in files[1] if name != checkpoint.PREVIOUS]
