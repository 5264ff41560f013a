"""Callbacks: order of the hooks, effects on training, errors, and state across a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.tiny import LeastSquares, Linear, StopAt, rows, tiny, weights
from trainer.engine import checkpoint
from trainer.engine.callbacks import Callback, CallbackError, CallbackList
from trainer.engine.checkpoint import CheckpointManager
from trainer.engine.checkpoint_callback import CheckpointCallback
from trainer.engine.step_metrics import StepMetrics
from trainer.engine.trainer import Trainer
from trainer.utils.errors import Interrupted, SystemFault


class Recorder(Callback):
    """Records every call."""

    def __init__(self, name: str = "", calls: list[tuple[Any, ...]] | None = None):
        self.name = name
        self.calls = [] if calls is None else calls

    def on_fit_start(self, trainer: Trainer) -> None:
        self.calls.append(("fit_start", trainer.step))

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        self.calls.append(("step", trainer.step))

    def on_evaluation_batch_end(self, trainer: Trainer) -> None:
        self.calls.append(("evaluation_batch", trainer.step))

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        self.calls.append(("validation", row["step"]))

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.calls.append(("epoch", trainer.epoch))

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        self.calls.append(("checkpoint", path.name, trainer.step))

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        self.calls.append(("exception", type(error).__name__, self.name))

    def on_fit_end(self, trainer: Trainer) -> None:
        self.calls.append(("fit_end", trainer.step))


def make_trainer(folder: Path, *callbacks: Callback, save_every: float = 1000.0, **changes: Any) -> Trainer:
    """Build a trainer of 4 steps an epoch; the callbacks come before the one that saves, ``StopAt`` after it."""
    trainer = tiny(LeastSquares(Linear()), train=rows(16), **{"epochs": 2} | changes)
    saver = CheckpointCallback(CheckpointManager(folder, {}), save_every)
    stops = [callback for callback in callbacks if isinstance(callback, StopAt)]
    trainer.callbacks = CallbackList([*(c for c in callbacks if c not in stops), saver, *stops])
    return trainer


def resume(folder: Path, trainer: Trainer) -> Trainer:
    state = checkpoint.load_newest(folder)
    trainer.load_state_dict(state, checkpoint.load_checkpoint(folder / "best.pt") if state["best"]["step"] else None)
    return trainer


def test_hooks_are_called_in_order(tmp_path: Path) -> None:
    recorder = Recorder()
    trainer = tiny(LeastSquares(Linear()), train=rows(16), epochs=2, manager=CheckpointManager(tmp_path, {}))
    trainer.callbacks = CallbackList([recorder, *trainer.callbacks])
    trainer.fit()
    # The 10 validation rows are 3 batches, which are no steps.
    first = [("step", 1), ("step", 2), ("step", 3), ("step", 4), *[("evaluation_batch", 4)] * 3]
    second = [("step", 5), ("step", 6), ("step", 7), ("step", 8), *[("evaluation_batch", 8)] * 3]
    assert recorder.calls == [
        ("fit_start", 0),
        *(*first, ("validation", 4), ("epoch", 1)),
        *(*second, ("validation", 8), ("epoch", 2)),
        ("fit_end", 8),
        ("checkpoint", "last.pt", 8),
    ]


def test_exceptions_reach_the_last_callback_first(tmp_path: Path) -> None:
    calls: list[tuple[Any, ...]] = []
    trainer = make_trainer(tmp_path, Recorder("a", calls), Recorder("b", calls), StopAt(2))
    with pytest.raises(Interrupted):
        trainer.fit()
    assert calls[-3:] == [
        ("checkpoint", "last.pt", 2),
        ("exception", "Interrupted", "b"),
        ("exception", "Interrupted", "a"),
    ]


class Average(Callback):
    """Averages the weights over steps, and draws random numbers in every hook that may."""

    name = "callbacks.average"

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.total = torch.zeros(())
        self.steps = 0

    def on_fit_start(self, trainer: Trainer) -> None:
        torch.rand(3), np.random.uniform()

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        torch.rand(3)

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        torch.rand(3)

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        self.total += weights(trainer).sum() + metrics["loss"] * torch.rand(())
        self.steps += 1
        trainer.evaluate_loader(trainer.val_loader)
        trainer.should_stop = trainer.step == self.stop_at

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total, self.steps = state["total"].clone(), state["steps"]


@pytest.mark.parametrize("stop_at", [None, 6])
@pytest.mark.parametrize(("step", "training"), [(1, True), (4, True), (4, False), (5, True), (6, True), (6, False)])
def test_a_callback_with_state_resumes_bit_exactly(
    tmp_path: Path, step: int, training: bool, stop_at: int | None
) -> None:
    if (step, training, stop_at) == (6, False, None):
        pytest.skip("no validation there")
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    first, second = Average(stop_at), Average(stop_at)
    whole = make_trainer(tmp_path / "whole", first, save_every=0)
    whole.fit()
    with pytest.raises(Interrupted):
        make_trainer(tmp_path / "cut", Average(stop_at), StopAt(step, training)).fit()
    resumed = resume(tmp_path / "cut", make_trainer(tmp_path / "cut", second))
    resumed.fit()
    assert resumed.step == whole.step == (stop_at or 8)
    assert torch.equal(weights(resumed), weights(whole))
    assert (second.steps, second.total) == (first.steps, first.total)
    assert [row["val_mse"] for row in resumed.history] == [row["val_mse"] for row in whole.history]


def test_should_stop_ends_an_epoch_early_with_a_validation(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, Average(stop_at=6), epochs=5, val_every=4)
    trainer.fit()
    assert (trainer.step, trainer.epoch, trainer.batch) == (6, 2, 0)
    assert [row["step"] for row in trainer.history] == [6]
    again = resume(tmp_path, make_trainer(tmp_path, Average(stop_at=6), epochs=5, val_every=4))
    assert again.is_finished()
    again.fit()
    assert again.step == 6


class Failing(Recorder):
    def __init__(self, hook: str, error: Exception):
        super().__init__("callbacks.mine")
        self.hook, self.error = hook, error

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_") and name == object.__getattribute__(self, "hook"):
            return object.__getattribute__(self, "fail")
        return object.__getattribute__(self, name)

    def fail(self, *_: object) -> None:
        raise self.error


@pytest.mark.parametrize("hook", ["on_fit_start", "on_step_end", "on_validation_end", "on_epoch_end", "on_fit_end"])
def test_an_error_in_a_callback_is_reported_as_its_own(tmp_path: Path, hook: str) -> None:
    trainer = make_trainer(tmp_path, Failing(hook, ZeroDivisionError("by nothing")))
    with pytest.raises(CallbackError) as caught:
        trainer.fit()
    text = str(caught.value)
    assert text.startswith(f"callbacks.mine: tests.engine.test_callbacks.Failing.{hook} raised ZeroDivisionError:")
    assert "by nothing (test_callbacks.py, line " in text
    assert caught.value.exit_code == 2


def test_error_in_on_exception_does_not_replace_the_cause(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = make_trainer(tmp_path, Failing("on_exception", KeyError("x")), StopAt(2))
    with pytest.raises(Interrupted):
        trainer.fit()
    assert "callbacks.mine" in caplog.text
    assert checkpoint.load_newest(tmp_path)["position"]["step"] == 2


def test_user_error_of_a_callback_is_not_wrapped(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, Failing("on_step_end", SystemFault("no room")))
    with pytest.raises(SystemFault, match=r"^no room$"):
        trainer.fit()


class Holder(Callback):
    name = "callbacks.holder"

    def __init__(self, value: Any):
        self.value = value

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise KeyError("other")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": [np.zeros(3)]}, "value.a.0 is of type ndarray"),
        ({1.5: 1}, "value has a key that is neither a string nor an integer"),
        (Path("x"), "value is of type PosixPath"),
    ],
)
def test_state_of_an_unsupported_type_raises(value: Any, problem: str) -> None:
    with pytest.raises(CallbackError, match=problem):
        CallbackList([Holder(value)]).state_dict()


def test_error_in_load_state_dict_names_the_callback() -> None:
    states = CallbackList([Holder([torch.zeros(2), None, "x"])]).state_dict()
    with pytest.raises(CallbackError, match=r"^callbacks.holder: .*load_state_dict raised KeyError"):
        CallbackList([Holder(0)]).load_state_dict(states)
    CallbackList([Recorder("new")]).load_state_dict(states)


def test_duplicate_callback_names_raise() -> None:
    with pytest.raises(ValueError, match=r"callbacks\.holder, callbacks\.holder"):
        CallbackList([Holder(1), Holder(2)])
