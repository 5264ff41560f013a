"""Disk space that is needed before the first step: the exact thresholds, and the files that a run has at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.lab import lab
from tests.helpers.states import make_state
from trainer.engine import checkpoint, checkpoint_space
from trainer.engine.checkpoint import LAST, CheckpointManager, save_checkpoint
from trainer.engine.checkpoint_retention import Retention
from trainer.engine.checkpoint_space import FileCount, check_disk_space, count_files
from trainer.engine.state_size import count_state_bytes
from trainer.utils.errors import SystemFault

STEPS = 15
COUNTS = {
    Retention(): FileCount(states=3, best=1),
    Retention(last=3): FileCount(states=6, best=1),
    Retention(every=4): FileCount(states=6, best=1),
    Retention(last=3, every=4): FileCount(states=9, best=1),
    Retention(best=3): FileCount(states=3, best=4),
    Retention(last=2, every=4, best=2): FileCount(states=8, best=3),
}
"""Most files at once in 15 steps."""


@pytest.fixture
def warns(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[..., str]:
    """Return a function that checks a disk with some free bytes and returns the warning."""

    def check(free: int, manager: CheckpointManager, state: dict[str, Any], total_steps: int = STEPS) -> str:
        caplog.clear()
        monkeypatch.setattr(checkpoint_space.atomic_write, "get_free_bytes", lambda _: free)
        check_disk_space(manager, state, total_steps)
        return "".join(record.getMessage() for record in caplog.records if record.levelname == "WARNING")

    return check


@pytest.mark.parametrize("retention", COUNTS, ids=str)
def test_files_at_once_are_counted(retention: Retention, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is interrupted twice at the end, with new best weights in each step."""
    counts = []

    def count() -> None:
        inodes = {(entry.inode(), "best" in entry.name) for entry in os.scandir(tmp_path)}
        num_best = sum(is_best for _, is_best in inodes)
        counts.append(FileCount(len(inodes) - num_best, num_best))

    def count_after(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            result = call(*args, **options)
            count()
            return result

        return counted

    manager = CheckpointManager(tmp_path, {}, retention=retention)
    monkeypatch.setattr(checkpoint, "verify_checkpoint", count_after(checkpoint.verify_checkpoint))
    for name in ("link", "replace", "unlink"):
        monkeypatch.setattr(os, name, count_after(getattr(os, name)))
    for step in range(1, STEPS + 1):
        if retention.best > 1:
            manager.save_ranked_weights({"step": step}, step, range(step, 0, -1))
        manager.save(make_state(step), {"step": step}, is_periodic=True)
    for _ in range(3):
        manager.save(make_state(STEPS), None)
    expected = COUNTS[retention]
    assert count_files(retention, STEPS) == expected
    assert max(found.states for found in counts) == expected.states
    assert max(found.states + found.best for found in counts) == expected.states + expected.best


@pytest.mark.parametrize("retention", COUNTS, ids=str)
def test_a_warning_depends_on_one_byte(retention: Retention, tmp_path: Path, warns: Callable[..., str]) -> None:
    state = make_state(0, 250_000) | {"averages": torch.zeros(500_000)}
    manager = CheckpointManager(tmp_path, {"name": "run"}, {"graph": torch.zeros(25_000)}, retention)
    shared = count_state_bytes(manager.shared_state)
    state_bytes, best_bytes = count_state_bytes(state) + shared, count_state_bytes(state["task"]) + shared
    assert (round(state_bytes / 1e6, 1), round(best_bytes / 1e6, 1)) == (3.1, 1.1)
    count = COUNTS[retention]
    needed = count.states * state_bytes + count.best * best_bytes
    assert warns(needed, manager, state) == ""
    assert warns(needed - 1, manager, state) == (
        f"{needed / 1e6:.1f} MB free in {tmp_path}; a checkpoint needs 3.1 MB,"
        f" and the checkpoints of this run will need {needed / 1e6:.1f} MB"
    )


def test_a_run_starts_if_its_first_checkpoint_fits(tmp_path: Path, warns: Callable[..., str]) -> None:
    state, manager = make_state(0, 250_000), CheckpointManager(tmp_path, {})
    shared = count_state_bytes(manager.shared_state)
    state_bytes, best_bytes = count_state_bytes(state) + shared, count_state_bytes(state["task"]) + shared
    assert warns(state_bytes + best_bytes, manager, state)
    message = rf"disk full: a checkpoint needs 2\.0 MB, 2\.0 MB free in {tmp_path}$"
    with pytest.raises(SystemFault, match=message):
        warns(state_bytes + best_bytes - 1, manager, state)


def test_a_resumed_run_needs_the_space_of_one_more_state(tmp_path: Path, warns: Callable[..., str]) -> None:
    """However many files there are."""
    state, manager = make_state(0, 250_000), CheckpointManager(tmp_path, {})
    needed = count_state_bytes(state) + count_state_bytes(manager.shared_state)
    for names in (("best.pt", "last.pt", "previous.pt"), ("step_1.pt", "step_2.pt", "step_3.pt", "step_4.pt")):
        for number, name in enumerate(names):
            save_checkpoint(make_state(number, 250_000), tmp_path / name)
        assert warns(needed, manager, state) == ""
        message = rf"disk full: a checkpoint needs 1\.0 MB, 1\.0 MB free in {tmp_path}$"
        with pytest.raises(SystemFault, match=message):
            warns(needed - 1, manager, state)


@pytest.mark.parametrize("optimizer", ["adamw", "nadam"])
def test_the_space_of_an_optimizer_is_included_before_its_first_step(
    optimizer: str, tmp_path: Path, warns: Callable[..., str]
) -> None:
    """Optimizers of torch create their averages in the first step."""
    words = ("model=mlp", "data=moons", "data.rows=60", "model.hidden=[200,200]", "epochs=1", "max_steps=1")
    trainer = lab(*words, f"optimizer={optimizer}").trainer
    manager, first = CheckpointManager(tmp_path, {}), trainer.state_dict()
    trainer.fit()
    size, best = (count_state_bytes(trainer.state_dict()[key]) for key in ("param_groups", "task"))
    assert size > 1.9 * best
    for share, is_enough in ((0.99, False), (1.02, True)):
        free = round(share * (3 * count_state_bytes(trainer.state_dict()) + best))
        assert (warns(free, manager, first) == "") == is_enough


def test_a_failed_copy_of_a_retained_state_names_the_free_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = CheckpointManager(tmp_path, {}, retention=Retention(last=2))
    monkeypatch.setattr(checkpoint_space.atomic_write, "get_free_bytes", lambda _: 200_000)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.checkpoint_retention, "link_file", fail)
    message = r"step_1\.pt: No space left on device; 0\.2 MB free$"
    with pytest.raises(SystemFault, match=message):
        manager.save(make_state(1, 250_000), None, is_periodic=True)
    assert (tmp_path / LAST).exists()
