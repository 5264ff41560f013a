"""Runs whose data workers fail, die or hang end in time, and no worker outlives its run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.helpers.commands import start, train, write
from trainer.engine import checkpoint
from trainer.runs import run_dir

PLUGIN = """
import os, signal, time
import torch
from trainer.core.split import TensorSplit
from trainer.data.datasets.tabular.synthetic import Moons

def fail():
    raise KeyError("a column")

ACTIONS = {"kill": lambda: os.kill(os.getpid(), signal.SIGKILL), "fail": fail, "hang": lambda: time.sleep(1000)}

class Deadly(TensorSplit):
    action = ""
    def count_bytes(self):
        return None
    def batch(self, index, epoch):
        if epoch == 1 and 7 in index and torch.utils.data.get_worker_info():
            ACTIONS[self.action]()
        return super().batch(index, epoch)

class Own(Moons):
    shapes = "x (B, F) -> (B)"
    def __init__(self, rows: int, action: str):
        super().__init__(rows, 0.2, 0)
        self.train = Deadly(self.train.inputs, self.train.target)
        self.train.action = action
"""
WORKER_ERRORS = {
    "kill": "killed by signal 9 (SIGKILL): often out of memory; its next batch was rows",
    "fail": "error: cannot read row 7 (data worker ",
    "hang": "gave no batch for 3 s (worker_timeout); its next batch was rows",
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("action", WORKER_ERRORS)
def test_cli_run_with_a_failed_worker_ends_in_time_and_resumes(action: str, tmp_path: Path) -> None:
    options = f"# own\n_target_: own_deadly.Own\nrows: 300\naction: {action}\n"
    write(tmp_path, {"own_deadly.py": PLUGIN, "c/data/deadly.yaml": options})
    overrides = ("--config-dir", "c", "plugins=[own_deadly]", "model=mlp", "data=deadly", "epochs=3", "threads=1")
    run = (*overrides, "batch_size=16", "save_every=0", "worker_timeout=3", "hydra.run.dir=outputs/run")
    process = start(*run, "num_workers=2", cwd=tmp_path)
    workers: set[int] = set()
    while process.poll() is None:
        workers |= {*list_children(process.pid)}
        time.sleep(0.02)
    _, stderr = process.communicate()
    assert process.returncode == 1, stderr
    assert WORKER_ERRORS[action] in stderr
    assert len(stderr.splitlines()) == 1
    assert workers
    assert not any(map(is_running, workers))
    results, last = run_dir.read_results(tmp_path / "outputs/run"), tmp_path / "outputs/run/last.pt"
    assert results["status"] == "failed"
    assert checkpoint.load_checkpoint(last)["position"]["epoch"] >= 1
    assert time.time() - last.stat().st_mtime < 10, "the run has waited for its workers"
    assert (tmp_path / "outputs/run/curves.png").exists()
    again = train(*run, "num_workers=0", "resume=auto", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def list_children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_a_killed_run_leaves_no_worker_and_resumes_immediately(tmp_path: Path) -> None:
    overrides = ("model=mlp", "data=moons", "num_workers=2", "threads=1", "save_every=0", "hydra.run.dir=outputs/run")
    process = start(*overrides, "epochs=30", cwd=tmp_path)
    path = tmp_path / "outputs/run"
    deadline = time.monotonic() + 90
    children: list[int] = []
    while time.monotonic() < deadline and process.poll() is None and not children:
        children = list_children(process.pid) if (path / "last.pt").exists() else []
    process.kill()
    process.wait()
    killed = time.monotonic()
    with run_dir.lock_run(path, timeout=1.0):
        pass
    while any(map(is_running, children)) and time.monotonic() < killed + 30:
        time.sleep(0.01)
    assert children
    assert time.monotonic() - killed < 3, "workers, or the lock, outlived the run"
    process.communicate()
