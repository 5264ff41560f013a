"""The sweep of the README with each launcher: killed in between, continued, and ranked as without a break.

``TRAIN_TEST_SEEDS=3`` runs all of its 18 jobs instead of those of one seed.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from tests.helpers import sweeps
from tests.helpers.commands import find_runs, start, train
from trainer.config.launcher_options import LAUNCHERS
from trainer.runs import run_dir

NUM_SEEDS = int(os.environ.get("TRAIN_TEST_SEEDS", "1"))
GRID = ("model=lstm,gru,rnn", "optimizer.lr=1e-3,1e-2", f"seed={','.join(map(str, range(NUM_SEEDS)))}")
TINY = ("data.rows=120", "model.hidden_size=4", "epochs=3", "threads=1", "draw=false", "jobs=2", "save_every=0")
COMMAND = ("-m", *GRID, *TINY, "resume=auto", "hydra.sweep.dir=outputs/sweep")
NUM_JOBS = 6 * NUM_SEEDS
NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(not importlib.util.find_spec(kind.package), reason=kind.package))
    for name, kind in LAUNCHERS.items()
    if name != "submitit_slurm"
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux"),
]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    done = train(*COMMAND, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_sweep_continues_to_the_same_leaderboard(name: str, unbroken: Path, tmp_path: Path) -> None:
    command = (*COMMAND, f"hydra/launcher={name}")
    process = start(*command, cwd=tmp_path)
    sweeps.wait_until(lambda: sweeps.count_finished(tmp_path) >= NUM_JOBS // 2, process, seconds=300)
    sweeps.kill_tree(process)
    # The last one may have been killed before its figures, which are restored.
    complete = [path for path in find_runs(tmp_path) if run_dir.read_results(path).get("artifacts") is not None]
    written_at = {path: (path / "results.json").stat().st_mtime_ns for path in complete}
    assert 1 <= len(complete) < NUM_JOBS
    process = start(*command, cwd=tmp_path)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stdout + stderr
    assert sweeps.list_statuses(tmp_path) == ["finished"] * NUM_JOBS
    assert {path: (path / "results.json").stat().st_mtime_ns for path in complete} == written_at, "a job ran again"
    assert len(find_runs(tmp_path)) == NUM_JOBS
    rows = sweeps.read_leaderboard_rows(tmp_path)
    assert [row["runs"] for row in rows] == [str(NUM_SEEDS)] * 6
    assert rows == sweeps.read_leaderboard_rows(unbroken)
