"""A sweep that is killed during its third job of five: the same command repeats nothing and ends in the same table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers import sweeps
from tests.helpers.commands import SMALL, find_runs, start, train
from tests.helpers.digest import digest
from tests.helpers.held_runs import HOLD, HeldRun
from trainer.engine import checkpoint
from trainer.runs import run_dir

RUN = (*SMALL[:3], "epochs=9", "save_every=0", "draw=false", "threads=1", "ema=0.9", "scheduler=onecycle", *HOLD)
COMMAND = ("-m", *RUN, "seed=0,1,2,3,4", "jobs=1", "resume=auto", "hydra.sweep.dir=outputs/sweep")


def list_states(root: Path) -> dict[str, tuple[list[str], dict[str, Any]]]:
    """Return the digests of the checkpoints and the scores of each job."""
    return {
        path.name: (
            [digest(checkpoint.load_checkpoint(path / name)) for name in (checkpoint.LAST, checkpoint.BEST)],
            {key: run_dir.read_results(path)[key] for key in ("status", "steps", "val", "test")},
        )
        for path in find_runs(root)
    }


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_a_sweep_killed_in_its_third_job_continues(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    HeldRun(whole, is_requested=False)
    held = HeldRun(broken, seed=2)
    done = train(*COMMAND, cwd=whole)
    assert done.returncode == 0, done.stderr
    process = start(*COMMAND, cwd=broken)
    root = broken / "outputs/sweep"
    sweeps.wait_until(held.is_held, process)
    sweeps.kill_tree(process)
    held.release()
    assert sweeps.list_statuses(broken) == ["finished", "finished", "running"]
    before = [(root / f"{seed}-seed={seed}/results.json").stat().st_mtime_ns for seed in (0, 1)]
    steps = checkpoint.load_checkpoint(root / "2-seed=2/last.pt")["position"]["step"]
    assert 0 < steps < run_dir.read_results(root / "0-seed=0")["steps"]
    again = train(*COMMAND, cwd=broken)
    assert again.returncode == 0, again.stderr
    assert before == [(root / f"{seed}-seed={seed}/results.json").stat().st_mtime_ns for seed in (0, 1)]
    assert f"from step {steps:,}" in (root / "2-seed=2.out").read_text()
    assert list_states(root) == list_states(whole / "outputs/sweep")
    assert sweeps.read_leaderboard_rows(broken) == sweeps.read_leaderboard_rows(whole)
