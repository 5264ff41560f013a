"""``members``: jobs of a sweep that are trained as one model, against the same jobs in processes of their own."""

from __future__ import annotations

import csv
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.commands import SMALL, find_runs, start, train
from tests.helpers.sweeps import wait_until
from trainer.config import compose
from trainer.engine import checkpoint
from trainer.runs import run_dir
from trainer.runs.launchers import member_launcher
from trainer.runs.sweep_job import Job

GRID = (*SMALL, "draw=false", "optimizer.lr=0.01,0.02", "seed=0,1", "jobs=1")
TOLERANCE = 1e-5


def read_runs(root: Path) -> dict[str, Path]:
    return {path.name: path for path in find_runs(root)}


def read_history(path: Path) -> list[dict[str, float]]:
    with open(path / "metrics.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def check_same_runs(together: Path, alone: Path, joint_runs: Mapping[str, int]) -> None:
    """Check that two sweeps have the same runs, files, losses and scores, and which of the first were joined."""
    first, second = read_runs(together), read_runs(alone)
    assert first.keys() == second.keys()
    for name, path in first.items():
        other = second[name]
        files, other_files = ({file.name for file in directory.iterdir()} for directory in (path, other))
        figures = set() if run_dir.read_results(path)["artifacts"] is not None else {run_dir.CURVES_FILE}
        assert files | figures == other_files
        assert not files & figures
        for row, other_row in zip(read_history(path), read_history(other), strict=True):
            assert row == pytest.approx(other_row, abs=TOLERANCE)
        results, expected = run_dir.read_results(path), run_dir.read_results(other)
        assert results.get("joint_runs") == joint_runs.get(name)
        for key in ("status", "identity", "monitor", "best_epoch", "steps", "rows", "threads"):
            assert results[key] == expected[key], key
        assert results["test"] == pytest.approx(expected["test"], abs=TOLERANCE)


def check_figures_are_drawn_on_demand(run: Path) -> None:
    """Check that resuming a finished member draws its figures, and nothing else."""
    weights = (run / checkpoint.BEST).read_bytes()
    assert run_dir.read_results(run)["artifacts"] is None
    output = run.with_name(f"{run.name}.out").read_text()
    assert f"{run.name} plugins=[mine] draws them" in output.partition("no figures yet: train resume ")[2]
    resume, cwd = ("resume", str(run), "plugins=[mine]"), run.parent.parent
    done = train(*resume, cwd=cwd)
    assert "is finished, but without curves.png, its figures; restoring them" in done.stdout, done.stderr
    assert (run / run_dir.CURVES_FILE).stat().st_size > 0
    assert run_dir.read_results(run)["artifacts"] == []
    assert (run / checkpoint.BEST).read_bytes() == weights
    assert "is finished; nothing to do" in train(*resume, cwd=cwd).stdout


def list_statuses(root: Path) -> list[Any]:
    return [run_dir.read_results(path).get("status") for path in sorted(find_runs(root))]


@pytest.mark.slow
def test_members_equal_jobs_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").touch()
    for key, folder in (("members=4", "together"), ("members=null", "alone")):
        done = train("-m", *GRID, "plugins=[mine]", key, f"hydra.sweep.dir={folder}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert ("members: 4 jobs of a process are trained as one model" in done.stdout) == (folder == "together")
        assert done.stdout.count("train resume RUN plugins=[mine] draws those of a run") == (folder == "together")
    names = [path.name for path in find_runs(tmp_path / "together")]
    check_same_runs(tmp_path / "together", tmp_path / "alone", dict.fromkeys(names, 4))
    run = tmp_path / "together" / "0-optimizer.lr=0.01,seed=0"
    log = (run / "train.log").read_text()
    assert log.count("config ") == 1
    assert run.with_name(f"{run.name}.out").read_text().count("epoch 2/2") == 1
    check_figures_are_drawn_on_demand(run)


@pytest.mark.slow
def test_jobs_with_dropout_are_a_group_of_their_own(tmp_path: Path) -> None:
    grid = (*SMALL, "draw=false", "model.dropout=0,0.2,0.5", "optimizer.lr=0.01,0.02", "jobs=1")
    for key, folder in (("members=4", "together"), ("members=null", "alone")):
        done = train("-m", *grid, key, f"hydra.sweep.dir={folder}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        if folder == "together":
            assert "members: 2 jobs of a process are trained as one model" in done.stdout
            assert "members: 4 jobs of a process are trained as one model" in done.stdout
    joint_runs = {name: 2 if "dropout=0," in name else 4 for name in read_runs(tmp_path / "together")}
    check_same_runs(tmp_path / "together", tmp_path / "alone", joint_runs)


@pytest.mark.slow
def test_jobs_that_cannot_be_joined_run_as_without_members(tmp_path: Path) -> None:
    model = ("model=gru", "data=synthetic_seq", "data.rows=60", "epochs=1", "model.hidden_size=4", "threads=1")
    for key, folder in (("members=4", "together"), ("members=null", "alone")):
        words = (*model, "draw=false", "optimizer.lr=0.01,0.02", "jobs=1", key, f"hydra.sweep.dir={folder}")
        done = train("-m", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert ("members: one process per job: their loss cannot be" in done.stdout) == (folder == "together")
    check_same_runs(tmp_path / "together", tmp_path / "alone", {})
    for name in read_runs(tmp_path / "alone"):  # the same bits
        states = [
            checkpoint.load_checkpoint(tmp_path / folder / name / checkpoint.BEST)["task"]
            for folder in ("together", "alone")
        ]
        assert all(value.equal(states[1][key]) for key, value in states[0].items())


@pytest.mark.slow
def test_a_member_that_is_not_finite_fails_alone(tmp_path: Path) -> None:
    grid = (*SMALL, "draw=false", "optimizer=sgd", "optimizer.lr=0.01,1e30,0.02", "members=3", "jobs=1")
    done = train("-m", *grid, "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert done.returncode == 1
    assert list_statuses(tmp_path / "sweep") == ["finished", "failed", "finished"]
    failed = run_dir.read_results(tmp_path / "sweep" / "1-optimizer.lr=1e+30")
    assert "weights were not updated" in failed["reason"]
    assert "failed: 1-optimizer.lr=1e+30: NonFiniteError" in done.stderr


@pytest.mark.slow
def test_stopped_members_are_resumed_together_or_alone(tmp_path: Path) -> None:
    grid = (*GRID, "epochs=400", "val_every=100", "members=4", "save_every_steps=20", "hydra.sweep.dir=sweep")
    process = start("-m", *grid, "resume=auto", cwd=tmp_path)
    paths = [tmp_path / "sweep" / f"{3}-optimizer.lr=0.02,seed=1"]
    wait_until(lambda: all((path / checkpoint.LAST).exists() for path in paths))
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert list_statuses(tmp_path / "sweep") == ["interrupted"] * 4
    resumed = train("resume", str(tmp_path / "sweep" / "0-optimizer.lr=0.01,seed=0"), cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    done = train("-m", *grid, "resume=auto", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "members: 3 jobs of a process are trained as one model" in done.stdout
    done = train("-m", *grid, "members=null", "hydra.sweep.dir=alone", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = read_runs(tmp_path / "sweep"), read_runs(tmp_path / "alone")
    for name, path in first.items():
        assert run_dir.read_results(path)["status"] == "finished"
        for row, other in zip(read_history(path), read_history(second[name]), strict=True):
            assert row == pytest.approx(other, abs=0.02)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("members=1",), "members: 1 given; it must be one of auto or a whole number >= 2"),
        (("members=some",), "members: 'some' given; it must be one of auto"),
        (("members=auto", "hydra/launcher=joblib"), "members: jobs of a launcher are processes of their own"),
    ],
)
def test_refused_members(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = train("-m", *SMALL, "seed=0,1", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("jobs", "reason"),
    [
        ((("ensemble=2", "seed=0"), ("ensemble=2", "seed=1")), "ensemble=2"),
        ((("accumulate=2",), ("compile=true",)), "accumulate=2, compile=True"),
        ((("model.hidden=[4]",), ("accumulate=2",)), "no two of them differ only in numbers"),
    ],
)
def test_jobs_that_cannot_be_trained_together_are_told_with_the_reason(
    jobs: tuple[tuple[str, ...], ...], reason: str, tmp_path: Path
) -> None:
    composed = [
        Job(compose.compose([*SMALL, *words]), tmp_path / str(number), "waiting") for number, words in enumerate(jobs)
    ]
    assert str(member_launcher.describe_obstacle(composed)).startswith(reason)
    assert member_launcher.describe_obstacle(composed[:1]) is None
