"""Which checkpoints are kept besides the last and the best one, and that none is lost meanwhile."""

from __future__ import annotations

import itertools
import math
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.digest import digest
from tests.helpers.kill_points import kill_at_call
from tests.helpers.resumed_runs import ResumedRun, hash_state, make_noisy_trainer
from tests.helpers.states import load_step, make_state
from tests.helpers.tiny import Formula, Numbers, StopAt, make_linear_loss, tiny
from trainer.engine import checkpoint_retention, checkpoint_space
from trainer.engine.checkpoint import BEST, LAST, PREVIOUS, CheckpointManager, load_checkpoint
from trainer.engine.checkpoint_callback import CheckpointCallback
from trainer.engine.checkpoint_retention import STATE_PREFIX, WEIGHTS_PREFIX, Retention, find_steps, rank_validations
from trainer.engine.trainer import Trainer
from trainer.metrics.registry import BUILTIN_METRICS
from trainer.utils.errors import SystemFault

STEPS = (9, 10, 99, 100, 9900, 10000)


def save_states(folder: Path, retention: Retention, steps: tuple[int, ...] = STEPS) -> CheckpointManager:
    manager = CheckpointManager(folder, {}, retention=retention)
    for step in steps:
        manager.save(make_state(step), {"step": 10} if step == 10 else None, is_periodic=True)
    return manager


@pytest.mark.parametrize(
    ("retention", "kept"),
    [
        (Retention(), []),
        (Retention(last=2), [9900, 10000]),
        (Retention(last=4), [99, 100, 9900, 10000]),
        (Retention(last=1, every=10), [10, 100, 9900, 10000]),
        (Retention(last=3, every=99), [99, 100, 9900, 10000]),
    ],
)
def test_states_are_kept_in_numeric_order(retention: Retention, kept: list[int], tmp_path: Path) -> None:
    save_states(tmp_path, retention)
    assert find_steps(tmp_path, STATE_PREFIX) == kept
    assert {path.name for path in tmp_path.iterdir()} == {LAST, PREVIOUS, BEST, *(f"step_{step}.pt" for step in kept)}
    for step in kept:
        assert load_checkpoint(tmp_path / f"step_{step}.pt")["position"]["step"] == step
    assert load_step(tmp_path) == 10000
    assert load_checkpoint(tmp_path / BEST)["step"] == 10


def test_states_of_interruptions_are_not_kept(tmp_path: Path) -> None:
    manager = save_states(tmp_path, Retention(last=2), (1, 2))
    manager.save(make_state(3), None)
    assert find_steps(tmp_path, STATE_PREFIX) == [1, 2]
    assert load_step(tmp_path) == 3


def test_a_kept_state_needs_no_space_of_its_own(tmp_path: Path) -> None:
    save_states(tmp_path, Retention(last=2))
    assert (tmp_path / "step_10000.pt").samefile(tmp_path / LAST)
    assert (tmp_path / "step_9900.pt").samefile(tmp_path / PREVIOUS)


def test_later_states_of_a_run_resumed_from_an_earlier_one_are_replaced(tmp_path: Path) -> None:
    save_states(tmp_path, Retention(last=2), (10, 20, 30))
    manager = save_states(tmp_path, Retention(last=2), (15,))
    assert find_steps(tmp_path, STATE_PREFIX) == [15, 20, 30]
    manager.save(make_state(20, 7), None, is_periodic=True)
    manager.save(make_state(30, 7), None, is_periodic=True)
    assert find_steps(tmp_path, STATE_PREFIX) == [20, 30]
    assert load_checkpoint(tmp_path / "step_20.pt")["task"]["w"].shape == (7,)


@pytest.mark.parametrize("has_links", [True, False])
def test_a_state_is_removed_only_after_the_new_one_is_on_the_disk(
    has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = []
    unlink, link = Path.unlink, os.link

    def unlink_and_check(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("step_"):
            removed.append(path.name)
            newest = find_steps(tmp_path, STATE_PREFIX)[-1]
            assert load_checkpoint(tmp_path / f"step_{newest}.pt")["position"]["step"] == newest == load_step(tmp_path)
        unlink(path, missing_ok)

    def raise_permission_error(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", unlink_and_check)
    monkeypatch.setattr(os, "link", link if has_links else raise_permission_error)
    save_states(tmp_path, Retention(last=2))
    assert removed == ["step_9.pt", "step_10.pt", "step_99.pt", "step_100.pt"]


def test_a_state_that_cannot_be_removed_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unlink = Path.unlink

    def fail(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("step_"):
            raise PermissionError(1, "Operation not permitted")
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        manager = save_states(tmp_path, Retention(last=2), (1, 2, 3))
    assert f"{tmp_path / 'step_1.pt'} cannot be removed and stays: Operation not permitted" in caplog.text
    assert find_steps(tmp_path, STATE_PREFIX) == [1, 2, 3]
    manager.save(make_state(4), None, is_periodic=True)
    assert find_steps(tmp_path, STATE_PREFIX) == [3, 4]


@pytest.mark.slow
def test_a_kill_at_any_call_leaves_a_loadable_state(tmp_path: Path) -> None:
    for point in itertools.count(1):
        folder = tmp_path / str(point)
        folder.mkdir()
        manager = save_states(folder, Retention(last=2), (9, 10))
        code = kill_at_call(point, partial(manager.save, make_state(11), None, is_periodic=True))
        assert load_step(folder) in (10, 11)
        for step in find_steps(folder, STATE_PREFIX):
            assert load_checkpoint(folder / f"step_{step}.pt")["position"]["step"] == step
        assert len(find_steps(folder, STATE_PREFIX)) >= 2
        if code == 0:
            break
        assert code == 9
        save_states(folder, Retention(last=2), (11, 12))
        assert find_steps(folder, STATE_PREFIX) == [11, 12]
    assert point >= 9  # save, fsync, verify, link, 2 x replace, sync, and link, replace, sync of the kept state


def test_a_full_disk_while_a_state_is_kept_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = save_states(tmp_path, Retention(last=2), (1,))
    replace = os.replace

    def fail(source: Path, target: Path) -> None:
        if Path(target).name.startswith("step_"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(SystemFault, match=r"cannot write .*step_2\.pt: No space left on device; .* MB free"):
        manager.save(make_state(2), None, is_periodic=True)
    assert load_step(tmp_path) == 2


def rows(*scores: tuple[float, float]) -> list[dict[str, float]]:
    return [{"step": step, "val_accuracy": score, "val_nll": nll} for step, (score, nll) in enumerate(scores)]


def test_validations_are_ranked_by_score_then_nll_then_time() -> None:
    history = rows((0.5, 1.0), (math.nan, 0.1), (0.7, 0.9), (0.7, 0.8), (0.5, 1.0), (0.7, math.nan), (math.inf, 0.0))
    assert rank_validations(history, BUILTIN_METRICS["accuracy"]) == [3, 2, 5, 0, 4]
    assert rank_validations(history, BUILTIN_METRICS["nll"]) == [6, 1, 3, 2, 0, 4]


SCORES = [0.5, math.nan, 0.4, 0.6, 0.45, 0.45, 0.3, 0.9]
BEST_THREE = [(1,), (1,), (1, 3), (1, 3, 4), (1, 3, 5), (3, 5, 6), (3, 5, 7), (3, 5, 7)]


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    """One step and one validation an epoch; the gradient is constant, so that the weight is that of its step."""
    manager = CheckpointManager(tmp_path, {}, retention=Retention(best=3))
    task = Formula(Numbers(w=[0.0]), make_linear_loss([-10.0]), SCORES)
    trainer = tiny(task, batch_size=16, epochs=len(SCORES), manager=manager, monitor="mse")
    kept = []
    run_validation = trainer.run_validation

    def record_files() -> None:
        run_validation()
        for callback in trainer.callbacks:
            if isinstance(callback, CheckpointCallback):
                callback.writer.join()
        kept.append(tuple(find_steps(tmp_path, WEIGHTS_PREFIX)))

    trainer.run_validation = record_files  # type: ignore[method-assign]
    trainer.fit()
    assert kept == BEST_THREE
    for step in kept[-1]:
        saved = load_checkpoint(tmp_path / f"best_{step}.pt")
        assert (saved["step"], saved["epoch"], saved["score"]) == (step, step, SCORES[step - 1])
        assert saved["task"]["model.w"].item() == pytest.approx(step, rel=1e-5)
    assert digest(load_checkpoint(tmp_path / "best_7.pt")) == digest(load_checkpoint(tmp_path / BEST))


def make_kept(folder: Path, **changes: Any) -> Trainer:
    retention = Retention(last=2, every=8, best=2)
    options = {"save_every": None, "save_every_steps": 3, "epochs": 4, "patience": None} | changes
    manager = changes.pop("manager", None) or CheckpointManager(folder, {}, retention=retention)
    manager.retention = retention
    return make_noisy_trainer(**options | {"manager": manager})


@pytest.mark.parametrize("step", [4, 7, 12, 13])
def test_an_interrupted_run_keeps_the_files_of_an_uninterrupted_one(step: int, tmp_path: Path) -> None:
    """With averaged weights, which the kept best weights are."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = make_kept(tmp_path / "whole")
    whole.fit()
    chain = ResumedRun(partial(make_kept, tmp_path / "cut"), tmp_path / "cut")
    chain.start(StopAt(step))
    assert hash_state(chain.resume()) == hash_state(whole)
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "cut").iterdir())
    assert [name for name in names if name.startswith("step_")] == ["step_15.pt", "step_16.pt", "step_8.pt"]
    kept_weights = [name for name in names if name.startswith("best_")]
    assert len(kept_weights) == 2
    for name in kept_weights:
        first, second = (load_checkpoint(tmp_path / folder / name) for folder in ("whole", "cut"))
        assert digest(first) == digest(second)
    states = [load_checkpoint(tmp_path / folder / "step_8.pt") for folder in ("whole", "cut")]
    assert digest(states[0]["task"]) == digest(states[1]["task"])


def test_the_space_of_kept_checkpoints_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    state = make_state(0, 25_000)
    monkeypatch.setattr(checkpoint_space.atomic_write, "get_free_bytes", lambda _: 10_000_000)

    def needed(retention: Retention, total_steps: int = 100) -> str:
        caplog.clear()
        checkpoint_space.check_disk_space(CheckpointManager(tmp_path, {}, retention=retention), state, total_steps)
        return "".join(record.getMessage() for record in caplog.records if record.levelname == "WARNING")

    assert needed(Retention(last=50)) == ""
    text = f"10.0 MB free in {tmp_path}; a checkpoint needs 0.1 MB, and the checkpoints of this run will need "
    assert text + "12.4 MB" in needed(Retention(last=120))
    assert text + "10.4 MB" in needed(Retention(every=1))
    assert text + "20.4 MB" in needed(Retention(best=200))


def test_names_of_kept_checkpoints() -> None:
    names = {"step_0.pt": True, "step_12.pt": True, "step_012.pt": False, "step_.pt": False, "step_1.pt.tmp": False}
    assert {name: checkpoint_retention.is_retained(name) for name in names} == names
    assert checkpoint_retention.is_retained_state("step_3.pt")
    assert not checkpoint_retention.is_retained_state("best_3.pt")
