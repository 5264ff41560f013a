"""``train -m``: jobs, failures, resuming, and the leaderboard."""

from __future__ import annotations

import csv
import json
import signal
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.commands import SMALL, find_runs, start, train, write
from tests.helpers.finished_runs import read_leaderboard
from tests.helpers.sweeps import find_descendants, send_signal, wait_for_ends, wait_until
from trainer.runs import leaderboard, run_dir, sweep
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError

DATA = """
import os
import time
from pathlib import Path
from typing import Literal
from trainer.data.datasets.tabular.synthetic import Moons

class Fragile(Moons):
    shapes = "x (B, F) -> (B)"
    def __init__(self, rows: int, end: Literal["well", "exit", "raise", "wait"]):
        if end == "exit":
            os._exit(9)
        if end == "raise":
            raise ZeroDivisionError("on purpose")
        if end == "wait":
            Path("waiting").touch()
            for _ in range(1200):  # a signal between touch and one long sleep would be handled at its end
                time.sleep(0.05)
        super().__init__(rows, 0.2, 0)
"""
OWN = {"own_fragile.py": DATA, "c/data/fragile.yaml": "# own\n_target_: own_fragile.Fragile\nrows: 300\nend: well\n"}
FRAGILE = ("--config-dir", "c", "plugins=[own_fragile]", "model=mlp", "data=fragile", "epochs=2", "threads=1")


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path, OWN))


def read_board(root: Path) -> list[dict[str, str]]:
    with open(root / "leaderboard.csv", newline="") as file:
        return list(csv.DictReader(file))


def find_sweep() -> Path:
    (root,) = Path("outputs/sweeps").glob("*/*")
    return root


@pytest.mark.slow
def test_grid_trains_every_combination_and_ranks_means() -> None:
    done = train("-m", *SMALL, "optimizer.lr=0.1,0.01", "seed=0,1", cwd=Path())
    assert done.returncode == 0, done.stderr
    root = find_sweep()
    found = [run_dir.read_results(path) for path in find_runs(root)]
    assert sorted((run["overrides"][-2], run["seed"]) for run in found) == [
        ("optimizer.lr=0.01", 0),
        ("optimizer.lr=0.01", 1),
        ("optimizer.lr=0.1", 0),
        ("optimizer.lr=0.1", 1),
    ]
    rows = read_board(root)
    assert {row["overrides"] for row in rows} == {"optimizer.lr=0.1", "optimizer.lr=0.01"}
    for row in rows:
        matching = [run for run in found if row["overrides"] in run["overrides"]]
        scores = [run["test"]["accuracy"] for run in matching]
        assert (row["model"], row["data"], row["runs"]) == ("mlp", "moons", "2")
        assert float(row["test"]) == pytest.approx(sum(scores) / 2)
        assert float(row["std"]) == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5)
        assert float(row["val"]) == pytest.approx(statistics.fmean(run["val"]["accuracy"] for run in matching))
    assert [float(row["val"]) for row in rows] == sorted((float(row["val"]) for row in rows), reverse=True)
    assert "| mlp |" in (root / "leaderboard.md").read_text()
    assert "4 jobs" in done.stdout


@pytest.mark.slow
def test_a_job_that_fails_does_not_stop_the_others() -> None:
    done = train("-m", *FRAGILE, "data.end=well,exit,raise", "task=classification,seq2seq", cwd=Path())
    assert done.returncode == 1
    assert "3 jobs (3 incompatible), " in done.stdout
    root = find_sweep()
    lines = [line for line in done.stderr.splitlines() if line.startswith(("failed", "refused"))]
    assert [line.split(": ")[0] for line in lines] == ["refused", "failed", "refused", "failed", "refused"]
    assert any("ZeroDivisionError: on purpose" in line for line in lines)
    assert any("exit" in line and "9" in line for line in lines)
    assert [path.name for path in find_runs(root) if run_dir.read_results(path)["status"] == "finished"] == [
        "0-data.end=well,task=classification"
    ]
    (raised,) = root.glob("*end=raise,task=classification.out")
    assert "Traceback" in raised.read_text()
    assert len(read_board(root)) == 1


@pytest.mark.slow
def test_the_same_command_with_resume_auto_repeats_nothing() -> None:
    grid = ("-m", *FRAGILE, "seed=0,1", "resume=auto")
    first = train(*grid, cwd=Path())
    assert first.returncode == 0, first.stderr
    before = {path: (path / "results.json").stat().st_mtime_ns for path in find_runs(Path())}
    assert len(before) == 2
    (root,) = {path.parent for path in before}
    table = read_board(root)
    time.sleep(1.1)  # another second, which would be another folder
    again = train(*grid, cwd=Path())
    assert again.returncode == 0, again.stderr
    assert {path: (path / "results.json").stat().st_mtime_ns for path in find_runs(Path())} == before
    boards = [read_board(path.parent) for path in Path("outputs").glob("**/leaderboard.csv")]
    assert boards == [table] * len(boards)
    assert "no finished run" not in again.stdout


@pytest.mark.slow
def test_a_single_run_is_not_treated_as_a_sweep() -> None:
    alone = train(*SMALL, "seed=0", cwd=Path())
    assert alone.returncode == 0, alone.stderr
    for _ in range(2):
        done = train("-m", *SMALL, "seed=0,1", "resume=auto", cwd=Path())
        assert done.returncode == 0, done.stderr
        assert [path.name for path in find_runs(find_sweep())] == ["0-seed=0", "1-seed=1"]
        assert read_board(find_sweep())[0]["runs"] == "2"
    assert len(find_runs(Path())) == 3


@pytest.mark.slow
def test_jobs_run_in_parallel() -> None:
    for jobs, message in ((1, "1 at a time"), (2, "2 at a time")):
        done = train("-m", *SMALL, "seed=0,1", f"jobs={jobs}", cwd=Path())
        assert (done.returncode, message in done.stdout) == (0, True), done.stderr


@pytest.mark.slow
def test_an_interrupted_sweep_reports_how_to_resume() -> None:
    process = start("-m", *FRAGILE, "data.end=well,wait", "jobs=1", cwd=Path())
    wait_until(Path("waiting").exists, process)
    # As from a terminal: the signal goes to the sweep and to its jobs.
    send_signal([process.pid, *find_descendants(process.pid)], signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stdout + stderr
    assert "resume=auto" in stderr
    assert "interrupted: 1-data.end=wait" in stderr
    assert "Traceback" not in stderr


@pytest.mark.slow
def test_a_terminated_sweep_leaves_no_job_behind() -> None:
    process = start("-m", *FRAGILE, "data.end=wait", "seed=0,1", "jobs=1", cwd=Path())
    wait_until(Path("waiting").exists, process)
    children = find_descendants(process.pid)
    assert children
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    wait_for_ends(children)


# The leaderboard alone.


def make_result(**changes: Any) -> dict[str, Any]:
    defaults = {
        "status": "finished",
        "model": "mlp",
        "data": "moons",
        "monitor": "accuracy",
        "params": 5,
        "seconds": 1.0,
    }
    scores = {"val": {"accuracy": 0.8}, "test": {"accuracy": 0.7}, "baseline": {"accuracy": 0.5}, "best_possible": {}}
    return defaults | scores | {"overrides": ["model=mlp", "seed=0", "epochs=2"]} | changes


def rank_results(root: Path, *found: dict[str, Any]) -> list[leaderboard.Entry]:
    for number, item in enumerate(found):
        write(root, {f"{number}/results.json": json.dumps(item)})
    return read_leaderboard(root)


def test_mean_and_standard_deviation_match_a_hand_computation(tmp_path: Path) -> None:
    scores = [0.7, 0.8, 0.9]
    (entry,) = rank_results(
        tmp_path, *(make_result(test={"accuracy": s}, overrides=["model=mlp", f"seed={s}"]) for s in scores)
    )
    assert (entry.runs, entry.test, entry.std) == (3, pytest.approx(0.8), pytest.approx(0.1))
    assert (entry.baseline, entry.best_possible) == (0.5, None)


def test_folds_are_averaged_like_seeds_in_every_metric(tmp_path: Path) -> None:
    """Also in metrics other than the monitored one."""
    scores = [(0, 0.7, 0.5), (1, 0.9, 0.6)]
    loss = {"monitor": "nll", "val": {"nll": 1.0}}
    entries = rank_results(
        tmp_path,
        *(
            make_result(
                **loss, test={"accuracy": a, "nll": 1.0}, baseline={"nll": b}, overrides=[f"data.fold={k}", "lr=1"]
            )
            for k, a, b in scores
        ),
        make_result(**loss, test={"accuracy": 0.6, "nll": 1.2}, baseline={}, overrides=["data.fold=0", "data.folds=5"]),
    )
    assert [(entry.overrides, entry.runs) for entry in entries] == [("lr=1", 2), ("data.folds=5", 1)]
    assert entries[0].baseline == pytest.approx(0.55)
    assert entries[0].other_metrics == {"accuracy": pytest.approx(0.8)}
    assert entries[1].other_metrics == {"accuracy": pytest.approx(0.6)}


def test_rows_show_differing_overrides_of_finished_runs(tmp_path: Path) -> None:
    entries = rank_results(
        tmp_path,
        make_result(overrides=["epochs=2", "optimizer.lr=1"], val={"accuracy": 0.6}),
        make_result(overrides=["epochs=2", "optimizer.lr=2"], val={"accuracy": 0.9}),
        make_result(status="failed"),
        make_result(status="interrupted"),
    )
    assert [entry.overrides for entry in entries] == ["optimizer.lr=2", "optimizer.lr=1"]


def test_lower_is_better_for_a_loss(tmp_path: Path) -> None:
    loss = {"monitor": "mse", "test": {"mse": 1.0}, "baseline": {}}
    entries = rank_results(
        tmp_path,
        make_result(**loss, val={"mse": 2.0}, overrides=["a=1"]),
        make_result(**loss, val={"mse": 1.0}, overrides=["a=2"]),
    )
    assert [entry.val for entry in entries] == [1.0, 2.0]


def test_run_without_a_score_does_not_break_the_leaderboard(tmp_path: Path) -> None:
    entries = rank_results(tmp_path, make_result(val={}, overrides=["a=1"]), make_result(overrides=["a=2"]))
    assert entries[0].val == 0.8
    leaderboard.show_leaderboard(tmp_path)
    assert (tmp_path / "leaderboard.csv").exists()


def test_folder_without_runs_is_reported_and_missing_folder_raises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaderboard.show_leaderboard(tmp_path / "c")
    assert "no finished run" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no directory"):
        leaderboard.show_leaderboard(tmp_path / "nope")


def test_a_foreign_results_file_is_ignored(tmp_path: Path) -> None:
    assert len(rank_results(tmp_path, make_result(), {"status": "finished", "accuracy": 1})) == 1
    with pytest.raises(ConfigError, match=r"results\.json is not a results file of a run: .* missing"):
        Result.read(tmp_path / "1")


def test_effect_of_omp_num_threads_on_jobs_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "count_processors", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert sweep.describe_worker_limit(1) == " (OMP_NUM_THREADS=1; jobs=8 would use all processors)"
    assert sweep.describe_worker_limit(8) == sweep.describe_worker_limit(4) == ""
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert sweep.describe_worker_limit(1) == ""
