"""Runs whose data workers fail, die or hang end in time, and no worker outlives its run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.commands import start, train, write
from tests.helpers.sweeps import wait_for_ends, wait_until
from trainer.engine import checkpoint
from trainer.runs import run_dir

PLUGIN = """
import os, signal, time
from pathlib import Path
import torch
from trainer.core.split import TensorSplit
from trainer.data.datasets.tabular.synthetic import Moons

def fail():
    raise KeyError("a column")

def hang():
    Path("hanging").touch()
    time.sleep(1000)

ACTIONS = {"kill": lambda: os.kill(os.getpid(), signal.SIGKILL), "fail": fail, "hang": hang}

class Deadly(TensorSplit):
    action = ""
    def count_bytes(self):
        return None
    def batch(self, index, epoch):
        if torch.utils.data.get_worker_info():
            Path(f"worker.{os.getpid()}").touch()
            if epoch == 1 and 7 in index:
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
    "hang": "gave no batch for 5 s (worker_timeout); its next batch was rows",
}
RUN = (
    *("--config-dir", "c", "plugins=[own_deadly]", "model=mlp", "data=deadly", "epochs=3", "threads=1"),
    *("batch_size=16", "save_every=0", "hydra.run.dir=outputs/run"),
)


def write_plugin(folder: Path, action: str) -> None:
    options = f"# own\n_target_: own_deadly.Own\nrows: 300\naction: {action}\n"
    write(folder, {"own_deadly.py": PLUGIN, "c/data/deadly.yaml": options})


def list_workers(folder: Path) -> list[int]:
    """Return the workers of all epochs so far, most of which have ended."""
    return [int(path.suffix[1:]) for path in folder.glob("worker.*")]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("action", WORKER_ERRORS)
def test_cli_run_with_a_failed_worker_ends_in_time_and_resumes(action: str, tmp_path: Path) -> None:
    write_plugin(tmp_path, action)
    run = (*RUN, f"worker_timeout={5 if action == 'hang' else 100}")
    done = train(*run, "num_workers=2", cwd=tmp_path)  # in less time than a worker hangs
    assert done.returncode == 1, done.stderr
    assert WORKER_ERRORS[action] in done.stderr
    assert len(done.stderr.splitlines()) == 1
    workers = list_workers(tmp_path)
    assert workers
    wait_for_ends(workers)
    results, last = run_dir.read_results(tmp_path / "outputs/run"), tmp_path / "outputs/run/last.pt"
    assert results["status"] == "failed"
    assert checkpoint.load_checkpoint(last)["position"]["epoch"] >= 1
    assert (tmp_path / "outputs/run/curves.png").exists()
    again = train(*run, "num_workers=0", "resume=auto", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_a_killed_run_leaves_no_worker_and_no_lock(tmp_path: Path) -> None:
    """A worker that is reading does not end by itself."""
    write_plugin(tmp_path, "hang")
    process = start(*RUN, "num_workers=2", "worker_timeout=1000", cwd=tmp_path)
    wait_until((tmp_path / "hanging").exists, process)
    process.kill()
    process.communicate(timeout=60)
    with run_dir.lock_run(tmp_path / "outputs/run", timeout=60):
        pass
    wait_for_ends(list_workers(tmp_path))
