"""Checkpoints are written while training continues, and contain the state of one step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.digest import digest
from tests.helpers.marks import mark_slow_after
from tests.helpers.resumed_runs import ResumedRun, hash_state
from tests.helpers.tiny import MOMENTUM, Formula, LeastSquares, Linear, Numbers, StopAt, make_linear_loss, rows, tiny
from trainer.core.batch import Batch
from trainer.engine import checkpoint, host_snapshot
from trainer.engine.callbacks import Callback, CallbackList
from trainer.engine.checkpoint import LAST, CheckpointManager, load_checkpoint
from trainer.engine.checkpoint_callback import CheckpointCallback
from trainer.engine.checkpoint_retention import Retention
from trainer.engine.step_metrics import StepMetrics
from trainer.engine.trainer import Trainer
from trainer.utils.errors import Interrupted, NonFiniteError, SystemFault


class SlowManager(CheckpointManager):
    """A manager that writes a periodic state when it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {})
        self.released = threading.Event()
        self.saved: dict[int, str] = {}
        self.threads: list[bool] = []

    def save(self, state: dict[str, Any], best: dict[str, Any] | None, *, is_periodic: bool = False) -> None:
        self.threads.append(threading.current_thread() is threading.main_thread())
        if is_periodic:
            assert self.released.wait(30)
        super().save(state, best, is_periodic=is_periodic)
        self.saved[state["position"]["step"]] = hash_training(state)


def hash_training(state: Mapping[str, Any]) -> str:
    keys = ("task", "param_groups", "random", "position", "history", "callbacks")
    return digest({key: state[key] for key in keys})


class ReleaseAt(Callback):
    """Records the states of steps; lets a manager write at one of them."""

    def __init__(self, manager: SlowManager, step: int):
        self.manager, self.step = manager, step
        self.states: dict[int, str] = {}
        self.checkpoints: list[tuple[int, int, bool]] = []

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        self.states[trainer.step] = hash_training(trainer.state_dict())
        if trainer.step == self.step:
            assert not self.manager.saved, "the write did not wait"
            self.manager.released.set()

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        self.checkpoints.append((load_checkpoint(path)["position"]["step"], trainer.step, is_main))


class Wide(nn.Module):
    """A network with buffers."""

    shapes = "x (B, F) -> (B)"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).mean(1)


def make_trainer(manager: CheckpointManager, *callbacks: Callback, width: int = 3, **changes: Any) -> Trainer:
    """Build a trainer of 4 steps an epoch, with running averages of the weights and of the gradient."""
    task = LeastSquares(Wide(width))
    options: dict[str, Any] = {"optimizer": MOMENTUM, "epochs": 2, "ema": 0.5, "save_every": None} | changes
    steps = options.pop("save_every_steps", 2)
    trainer = tiny(task, train=rows(16), **options)
    saver = CheckpointCallback(manager, options["save_every"], steps)
    stops = [callback for callback in callbacks if isinstance(callback, StopAt)]
    trainer.callbacks = CallbackList([*(c for c in callbacks if c not in stops), saver, *stops])
    return trainer


WIDE = 100_000
"""Width at which the vectors of the optimizer and of the average are copied while training continues."""


@pytest.mark.parametrize("width", mark_slow_after(1, [3, WIDE]))
def test_training_continues_while_the_state_of_a_step_is_written(width: int, tmp_path: Path) -> None:
    manager = SlowManager(tmp_path)
    recorder = ReleaseAt(manager, 4)
    trainer = make_trainer(manager, recorder, width=width, save_every_steps=3)
    trainer.fit()
    assert sorted(manager.saved) == [3, 6, 8]
    for step in (3, 6):
        assert manager.saved[step] == recorder.states[step]
    assert recorder.states[3] != recorder.states[4]
    assert [(step, is_main) for step, _, is_main in recorder.checkpoints] == [(3, True), (6, True), (8, True)]
    assert manager.threads == [False, False, True]
    assert load_checkpoint(tmp_path / LAST)["position"]["step"] == 8


def test_a_state_that_is_not_copied_changes_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_snapshot.HostSnapshot, "copy", lambda _, state, __: (state, lambda: None))
    recorder = ReleaseAt(manager := SlowManager(tmp_path), 4)
    with suppress(SystemFault):  # a tensor that changes after its checksum was computed is noticed even earlier
        make_trainer(manager, recorder, save_every_steps=3).fit()
    assert manager.saved.get(3) != recorder.states.get(3, "not reached")


class DelayedCopy(host_snapshot.HostSnapshot):
    """A snapshot whose deferred tensors are copied after an update, or after some time if that waits for the copy.

    The first copy, which reserves the memory, is not delayed.
    """

    def __init__(self, updated: threading.Event, seconds: float):
        super().__init__()
        self.updated, self.seconds, self.count = updated, seconds, 0

    def copy(self, state: Mapping[str, Any], deferred_keys: Any = ()) -> tuple[dict[str, Any], Callable[[], None]]:
        copied, complete = super().copy(state, deferred_keys)
        self.count += 1

        def complete_late() -> None:
            self.updated.wait(self.seconds)
            complete()

        return copied, complete if self.count == 1 else complete_late


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.slow
def test_an_update_waits_for_the_copy_of_the_optimizer(waits: bool, tmp_path: Path) -> None:
    recorder = ReleaseAt(manager := SlowManager(tmp_path), 4)
    trainer = make_trainer(manager, recorder, width=WIDE, save_every_steps=3)
    saver = next(callback for callback in trainer.callbacks if isinstance(callback, CheckpointCallback))
    saver.snapshot = DelayedCopy(manager.released, 0.3 if waits else 30)
    if not waits:
        saver.writer.wait_until_prepared = lambda: None  # type: ignore[method-assign]
    trainer.fit()
    assert (manager.saved[3] == recorder.states[3]) == waits


@pytest.mark.parametrize(("save_every", "steps"), [(0.0, None), (None, 1)])
def test_a_checkpoint_that_is_due_by_steps_waits_for_the_one_before(
    save_every: float | None, steps: int | None, tmp_path: Path
) -> None:
    manager = SlowManager(tmp_path)
    manager.released.set()
    make_trainer(manager, save_every=save_every, save_every_steps=steps).fit()
    assert sorted(manager.saved) == list(range(1, 9))


def test_a_checkpoint_that_is_due_by_time_is_postponed(tmp_path: Path) -> None:
    manager = SlowManager(tmp_path)
    make_trainer(manager, ReleaseAt(manager, 6), save_every=1e-9, save_every_steps=None).fit()
    assert 1 in manager.saved
    assert not {2, 3, 4, 5} & {*manager.saved}


class FailingManager(CheckpointManager):
    """A manager on a disk that is full for the periodic states."""

    is_full = True

    def save(self, state: dict[str, Any], best: dict[str, Any] | None, *, is_periodic: bool = False) -> None:
        if is_periodic and self.is_full:
            raise SystemFault("cannot write last.pt: No space left on device")
        super().save(state, best, is_periodic=is_periodic)


def test_an_error_of_the_write_ends_training_at_the_next_step(tmp_path: Path) -> None:
    manager = FailingManager(tmp_path, {})
    trainer = make_trainer(manager, save_every_steps=4)
    saver = next(callback for callback in trainer.callbacks if isinstance(callback, CheckpointCallback))
    start = saver.writer.start
    saver.writer.start = lambda *args: (start(*args), saver.writer.join())  # type: ignore[method-assign,func-returns-value,assignment]
    with pytest.raises(SystemFault, match=r"No space left on device; no checkpoint yet$"):
        trainer.fit()
    assert trainer.step == 5
    assert trainer.last_checkpoint_step is None
    assert trainer.best.step == 4
    assert not trainer.best.is_saved, "the best weights are lost"
    assert not list(tmp_path.iterdir())


def test_a_full_disk_names_the_last_checkpoint(tmp_path: Path) -> None:
    """Of this process, or of the one that was interrupted."""
    manager = FailingManager(tmp_path, {})
    manager.is_full = False
    with pytest.raises(Interrupted):
        make_trainer(manager, StopAt(3)).fit()
    chain = ResumedRun(lambda manager, callback, **_: make_trainer(manager, *filter(None, [callback])), tmp_path)
    trainer = make_trainer(FailingManager(tmp_path, {}))
    state = load_checkpoint(tmp_path / LAST)
    trainer.load_state_dict(state, None)
    with pytest.raises(SystemFault, match=r"No space left on device; last good checkpoint: step 3$"):
        trainer.fit()
    assert chain.resume().step == 8


def test_an_error_of_the_last_write_ends_training(tmp_path: Path) -> None:
    with pytest.raises(SystemFault, match="No space left on device"):
        make_trainer(FailingManager(tmp_path, {}), save_every_steps=8).fit()
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_saves_again_after_a_failed_write(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = make_trainer(FailingManager(tmp_path, {}), StopAt(4, training=False), save_every_steps=4)
    with pytest.raises(Interrupted):
        trainer.fit()
    assert "No space left on device" in caplog.text
    assert load_checkpoint(tmp_path / LAST)["position"]["step"] == 4


def test_an_interruption_waits_for_the_write_and_saves_the_last_step(tmp_path: Path) -> None:
    manager = SlowManager(tmp_path)
    whole = make_trainer(CheckpointManager(tmp_path, {}))
    whole.fit()
    chain = ResumedRun(lambda manager, callback, **_: make_trainer(manager, *filter(None, [callback])), tmp_path)
    trainer = make_trainer(manager, ReleaseAt(manager, 3), StopAt(3))
    with pytest.raises(Interrupted):
        trainer.fit()
    assert [*manager.saved] == [2, 3]
    assert load_checkpoint(tmp_path / LAST)["position"]["step"] == 3
    assert load_checkpoint(tmp_path / checkpoint.PREVIOUS)["position"]["step"] == 2
    assert hash_state(chain.resume()) == hash_state(whole)


class NanAt(LeastSquares):
    """A task whose loss is NaN at a step."""

    def __init__(self, step: int) -> None:
        super().__init__(Linear())
        self.calls, self.step = 0, step

    def loss(self, batch: Batch, group: str) -> torch.Tensor:
        self.calls += 1
        return super().loss(batch, group) * (torch.nan if self.calls == self.step else 1)


def test_a_loss_that_is_not_finite_names_the_checkpoint_that_is_being_written(tmp_path: Path) -> None:
    manager = SlowManager(tmp_path)
    trainer = tiny(NanAt(4), train=rows(16), manager=manager, save_every=None, save_every_steps=3)
    threading.Timer(0.2, manager.released.set).start()
    with pytest.raises(NonFiniteError, match="last good checkpoint: step 3"):
        trainer.fit()
    assert load_checkpoint(tmp_path / LAST)["position"]["step"] == 3


def test_best_weights_of_a_validation_during_the_write_are_saved_later(tmp_path: Path) -> None:
    """One step and one validation an epoch; the checkpoint of step 2 is written until step 4."""
    manager = SlowManager(tmp_path)
    task = Formula(Numbers(w=[0.0]), make_linear_loss([-10.0]), [0.5, 0.4, 0.3, 0.2])
    trainer = tiny(task, batch_size=16, epochs=4, monitor="mse")
    saver = CheckpointCallback(manager, None, 2)
    found: list[tuple[int, bool]] = []

    class Observer(ReleaseAt):
        def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
            found.append((load_checkpoint(path.with_name(checkpoint.BEST))["step"], trainer.best.is_saved))

    trainer.callbacks = CallbackList([Observer(manager, 4), saver])
    trainer.fit()
    assert found == [(1, False), (3, False), (4, True)]


@pytest.mark.slow
def test_without_memory_for_a_copy_training_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(host_snapshot.HostSnapshot, "copy", fail)
    manager = SlowManager(tmp_path)
    manager.retention = Retention(last=2)
    manager.released.set()
    make_trainer(manager, width=WIDE, save_every_steps=4).fit()
    assert manager.threads == [True, True, True]
    assert [path.name for path in sorted(tmp_path.glob("step_*"))] == ["step_4.pt", "step_8.pt"]
    assert "no memory to copy the state" in caplog.text
