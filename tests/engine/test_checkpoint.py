"""Checkpoints are written atomically: after a kill, a full disk or an error, the file is complete or absent."""

from __future__ import annotations

import io
import os
import resource
import shutil
import stat
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.helpers.kill_points import kill_at_call
from tests.helpers.marks import mark_slow_after
from tests.helpers.states import equal, load_step, make_state, run_in_child
from trainer.engine import checkpoint
from trainer.engine.checkpoint import (
    BEST,
    LAST,
    PREVIOUS,
    CheckpointManager,
    load_checkpoint,
    load_newest,
    save_checkpoint,
    verify_checkpoint,
)
from trainer.engine.checkpoint_space import check_disk_space
from trainer.engine.state_size import count_state_bytes
from trainer.runs import run_dir
from trainer.utils.atomic_write import remove_leftovers
from trainer.utils.errors import ConfigError, SystemFault


def test_saved_state_is_restored(tmp_path: Path) -> None:
    save_checkpoint(make_state(3), tmp_path / LAST)
    assert equal(load_checkpoint(tmp_path / LAST), make_state(3))
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_last_previous_and_best_checkpoints_are_kept(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, {"name": "run"})
    for step in (9, 10, 99, 100, 9900, 10000):
        manager.save(make_state(step), {"score": 1.0, "step": 10} if step == 10 else None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, LAST, PREVIOUS]
    assert run_dir.CHECKPOINT_FILES == (LAST, PREVIOUS)
    assert load_checkpoint(tmp_path / LAST)["position"]["step"] == 10000
    assert load_checkpoint(tmp_path / PREVIOUS)["position"]["step"] == 9900
    assert load_checkpoint(tmp_path / BEST)["step"] == 10
    assert load_checkpoint(tmp_path / LAST)["run_metadata"] == {"name": "run"}


def test_a_file_system_without_hard_links_is_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_permission_error(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    replace = os.replace

    def replace_and_check_last(source: Path, target: Path) -> None:
        replace(source, target)
        assert (tmp_path / LAST).exists()

    monkeypatch.setattr(os, "link", raise_permission_error)
    monkeypatch.setattr(os, "replace", replace_and_check_last)
    for step in (1, 2, 3):
        save_checkpoint(make_state(step), tmp_path / LAST)
    assert [load_checkpoint(tmp_path / name)["position"]["step"] for name in (LAST, PREVIOUS)] == [3, 2]
    assert len(list(tmp_path.iterdir())) == 2


def record_disk_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Record the calls that change the disk, in order."""
    events: list[tuple[str, ...]] = []
    real_fsync, real_replace, real_link = os.fsync, os.replace, os.link

    def fsync(handle: int) -> None:
        events.append(("fsync", "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"))
        real_fsync(handle)

    def replace(source: Path, target: Path) -> None:
        assert Path(source).parent == Path(target).parent
        events.append(("replace", Path(target).name))
        real_replace(source, target)

    def link(source: Path, target: Path) -> None:
        events.append(("link", Path(source).name))
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "link", link)
    return events


def test_save_syncs_links_replaces_and_syncs_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(make_state(1), tmp_path / LAST)
    events = record_disk_calls(monkeypatch)
    save_checkpoint(make_state(2), tmp_path / LAST)
    assert events == [
        ("fsync", "file"),
        ("link", LAST),
        ("replace", PREVIOUS),
        ("replace", LAST),
        ("fsync", "folder"),
    ]


@pytest.mark.parametrize("saved", mark_slow_after(1, [1, 2]))
@pytest.mark.slow
def test_a_kill_at_any_system_call_leaves_a_loadable_checkpoint(tmp_path: Path, saved: int) -> None:
    points = 0
    while True:
        folder = tmp_path / str(points)
        folder.mkdir()
        manager = CheckpointManager(folder, {})
        for step in range(1, saved + 1):
            manager.save(make_state(step), {"step": step})
        code = kill_at_call(points + 1, partial(manager.save, make_state(saved + 1), {"step": saved + 1}))
        if code == 0:
            break
        assert code == 9
        points += 1
        assert load_step(folder) in (saved, saved + 1)
        assert load_checkpoint(folder / BEST)["step"] in (saved, saved + 1)
        again = CheckpointManager(folder, {})
        assert not list(folder.glob(".*"))
        again.save(make_state(saved + 2), None)
        assert load_step(folder) == saved + 2
    assert points >= 10  # best: save, fsync, verify, replace, open, fsync; last: the same, link and another replace


def test_a_kill_during_writing_leaves_a_loadable_checkpoint(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, {})
    manager.save(make_state(1), None)

    def write_half(content: dict[str, Any], file: io.BufferedWriter) -> None:
        whole = io.BytesIO()
        real(content, whole)
        file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        file.flush()
        os._exit(9)

    real = torch.save

    def save() -> None:
        torch.save = write_half  # type: ignore[assignment]
        manager.save(make_state(2), None)

    assert run_in_child(save) == 9
    assert [path.name.startswith(".") for path in sorted(tmp_path.iterdir())] == [True, False]
    assert load_step(tmp_path) == 1
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_writing_in_place_would_lose_the_checkpoint_on_a_kill(tmp_path: Path) -> None:
    save_checkpoint(make_state(1), tmp_path / LAST)
    whole = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError):
        load_newest(tmp_path)


@pytest.mark.parametrize("size", [300, 6000, 200_000])
def test_a_full_disk_is_reported_and_existing_files_stay(tmp_path: Path, size: int) -> None:
    """A limit on the size of files simulates the disk: the error comes from the same calls."""
    manager = CheckpointManager(tmp_path, {})
    for step in (1, 2):
        manager.save(make_state(step), None)

    def save_with_limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        with pytest.raises(SystemFault, match=r"cannot write .*last\.pt: File too large; .* MB free") as caught:
            manager.save(make_state(3, size), None)
        assert caught.value.exit_code == 4

    assert run_in_child(save_with_limit) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [LAST, PREVIOUS]
    assert load_step(tmp_path) == 2
    manager.save(make_state(3, size), None)
    assert load_step(tmp_path) == 3


@pytest.mark.parametrize("call", [(torch, "save"), (os, "fsync"), (os, "replace")])
def test_a_disk_error_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[Any, str]) -> None:
    save_checkpoint(make_state(1), tmp_path / LAST)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*call, fail)
        with pytest.raises(SystemFault, match="No space left on device"):
            save_checkpoint(make_state(2), tmp_path / LAST)
    assert load_step(tmp_path) == 1
    assert not list(tmp_path.glob(f".{LAST}.*"))


def test_file_corrupted_before_verification_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(make_state(1), tmp_path / LAST)

    def truncate_and_verify(path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[:-100])
        verify_checkpoint(path)

    monkeypatch.setattr(checkpoint, "verify_checkpoint", truncate_and_verify)
    with pytest.raises(SystemFault, match="not a complete checkpoint"):
        save_checkpoint(make_state(2), tmp_path / LAST)
    monkeypatch.undo()
    assert load_step(tmp_path) == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("free", "warns"), [(40_000, False), (20_000, True), (100, None)])
def test_disk_space_is_checked_before_training(
    free: int, warns: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two states, a third while it is written, and the best weights need about 32 KB."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    whole = make_state(0, 2000)
    assert 2000 * 4 + 8 < count_state_bytes(whole) < 8200
    if warns is None:
        with pytest.raises(SystemFault, match=f"disk full: a checkpoint needs .* MB, .* MB free in {tmp_path}"):
            check_disk_space(CheckpointManager(tmp_path, {}), whole, 1)
        return
    check_disk_space(CheckpointManager(tmp_path, {}), whole, 1)
    assert ("will need" in caplog.text) == warns
    (tmp_path / PREVIOUS).write_bytes(bytes(20_000))
    caplog.clear()
    check_disk_space(CheckpointManager(tmp_path, {}), whole, 1)
    assert "will need" not in caplog.text, "existing files need no more space"


def test_disk_space_check_includes_data_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = torch.zeros(10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=20_000))
    check_disk_space(CheckpointManager(tmp_path, {}, None), make_state(0), 1)
    for data in ({"train": graph, "test": graph[:5000]}, {"words": {f"{number:09}": number for number in range(5000)}}):
        manager = CheckpointManager(tmp_path, {}, data)
        assert 40_000 <= count_state_bytes(manager.shared_state) < 46_000, "what is shared is saved once"
        with pytest.raises(SystemFault, match="disk full"):
            check_disk_space(manager, make_state(0), 1)


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SystemFault, match="No such file or directory"):
        save_checkpoint(make_state(1), tmp_path / "gone" / LAST)


def test_saving_over_a_hard_linked_checkpoint_leaves_no_extra_files(tmp_path: Path) -> None:
    last = tmp_path / checkpoint.LAST
    checkpoint.save_checkpoint({"step": 1}, last)
    (tmp_path / checkpoint.PREVIOUS).hardlink_to(last)
    checkpoint.save_checkpoint({"step": 2}, last)
    assert sorted(path.name for path in tmp_path.iterdir()) == [checkpoint.LAST, checkpoint.PREVIOUS]
    assert checkpoint.load_checkpoint(last)["step"] == 2
    assert checkpoint.load_checkpoint(tmp_path / checkpoint.PREVIOUS)["step"] == 1
