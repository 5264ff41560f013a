"""The temporary directory of the store of a run: removed at its end, and by later runs if it was killed."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from tests.helpers import commands
from tests.helpers.states import fork
from trainer.runs import process_store


@pytest.fixture
def temp_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use another directory for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def hold_store_until_killed(temp_dir: Path) -> tuple[int, Path]:
    """Create a store in another process; return its id and the directory, which looks old."""
    child = fork()
    if not child:
        with process_store.create_store_dir() as folder:
            (folder / "ready").touch()
            time.sleep(60)
        os._exit(0)
    while not (ready := list(temp_dir.glob("*/ready"))):
        time.sleep(0.01)
    os.utime(ready[0].parent, (0, 0))
    return child, ready[0].parent


def test_only_directories_of_killed_processes_are_removed(temp_dir: Path) -> None:
    child, folder = hold_store_until_killed(temp_dir)
    others = [temp_dir / f"{process_store._make_prefix()}{name}" for name in ("link", "unlocked", "young")]
    target = temp_dir / "target"
    for directory in (target, *others[1:]):
        directory.mkdir()
    others[0].symlink_to(target, target_is_directory=True)
    for directory in (target, others[2]):
        (directory / process_store.LOCK_FILE).touch()
    for directory in (target, others[1]):
        os.utime(directory, (0, 0))
    process_store.remove_stale_dirs()
    assert folder.exists(), "its process is alive"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with process_store.create_store_dir() as store_dir:
        assert not folder.exists()
        assert store_dir.stat().st_mode & 0o077 == 0
    assert not store_dir.exists()
    assert all(path.exists() for path in (target, *others))


TWICE = """
import os
import signal
from trainer import Callback

class StopsTwice(Callback):
    def on_step_end(self, trainer, metrics):
        if trainer.strategy.process_group.is_main and trainer.step == 3:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.slow
def test_nothing_is_left_after_a_second_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(TWICE)
    (tmp_path / "tmp").mkdir()
    words = ("model=mlp", "data=moons", "data.rows=300", "threads=1", "draw=false", "max_steps=9", "devices=2")
    words = (*words, "plugins=[own]", "+callbacks.stops._target_=own.StopsTwice", "hydra.run.dir=run")
    done = commands.train(*words, cwd=tmp_path, env={"TMPDIR": str(tmp_path / "tmp")})
    assert done.returncode == 130, done.stderr
    assert "stopped by SIGINT" not in done.stderr, "it has not ended at once"
    assert not list((tmp_path / "tmp").iterdir())
