"""Every launcher gives what the sweep without a launcher gives: isolation, resuming, signals, the leaderboard."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from pathlib import Path

import pytest

from tests.helpers import sweeps
from tests.helpers.commands import SMALL, find_runs, start, train, write
from trainer.config.launcher_options import LAUNCHERS
from trainer.runs import run_dir

DATA = """
import os
import time
from trainer.data.datasets.tabular.synthetic import Moons

class Fragile(Moons):
    shapes = "x (B, F) -> (B)"
    def __init__(self, rows: int, end: str):
        print("the words of", end, flush=True)
        if end.startswith("count"):
            descriptor = os.open(end, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, b".")
            time.sleep(2)
        if end == "exit":
            os._exit(9)
        if end == "kill":
            os.kill(os.getpid(), 9)
        if end == "raise":
            raise ZeroDivisionError("on purpose")
        super().__init__(rows, 0.2, 0)
"""
OWN = {"own_fragile.py": DATA, "c/data/fragile.yaml": "# own\n_target_: own_fragile.Fragile\nrows: 300\nend: well\n"}
FRAGILE = ("--config-dir", "c", "plugins=[own_fragile]", "model=mlp", "data=fragile", "epochs=1", "threads=1")
NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(not importlib.util.find_spec(kind.package), reason=kind.package))
    for name, kind in LAUNCHERS.items()
    if name != "submitit_slurm"  # in test_slurm.py
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux"),
]


def launch(name: str) -> tuple[str, ...]:
    return ("-m", f"hydra/launcher={name}", "resume=auto", "hydra.sweep.dir=outputs/sweep", "jobs=2")


@pytest.mark.parametrize("name", NAMES)
def test_a_failing_job_does_not_affect_the_others_and_is_tried_again(name: str, tmp_path: Path) -> None:
    write(tmp_path, OWN)
    command = (*launch(name), *FRAGILE, "data.end=well,exit,raise,kill", "task=classification,seq2seq")
    done = train(*command, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "4 jobs (4 incompatible), " in done.stdout
    lines = {line.split(": ")[1].split("=")[1].split(",")[0]: line for line in done.stderr.splitlines()}
    assert [line.split(": ")[0] for line in done.stderr.splitlines()].count("refused") == 4
    assert lines.keys() == {"well", "exit", "raise", "kill"}
    assert "failed: 4-data.end=raise,task=classification: ZeroDivisionError: on purpose" in done.stderr
    assert "failed: 2-data.end=exit,task=classification: the words of exit" in done.stderr
    assert "killed by signal 9 (SIGKILL)" in done.stderr
    root = tmp_path / "outputs/sweep"
    assert "Traceback" in next(root.glob("*raise,task=classification.out")).read_text()
    assert [path.name for path in find_runs(root) if run_dir.read_results(path)["status"] == "finished"] == [
        "0-data.end=well,task=classification"
    ]
    board = sweeps.read_leaderboard_rows(root)
    assert [row["runs"] for row in board] == ["1"]
    written_at = (root / "0-data.end=well,task=classification/results.json").stat().st_mtime_ns
    assert train(*command, cwd=tmp_path).returncode == 1
    assert (root / "0-data.end=well,task=classification/results.json").stat().st_mtime_ns == written_at
    assert set(sweeps.list_attempts(root).values()) == {1, 2}
    assert sweeps.list_attempts(root)["0-data.end=well,task=classification"] == 1
    assert sweeps.read_leaderboard_rows(root) == board


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_sweep_saves_its_jobs_and_leaves_nothing_behind(
    name: str, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    command = (*launch(name), *SMALL[:3], "threads=1", "epochs=100000", "seed=0,1,2", "save_every=1000", "jobs=1")
    if name == "ray":
        command = (*command, "hydra.launcher.num_cpus=2")
    process = start(*command, cwd=tmp_path)
    first = tmp_path / "outputs/sweep/0-seed=0"
    sweeps.wait_until((first / "metrics.csv").exists, process)
    jobs = [pid for pid in sweeps.find_descendants(process.pid) if b"job_process" in sweeps.read_command(pid)]
    assert jobs
    # Ctrl-C of a terminal reaches the whole group.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == code, stdout + stderr
    assert "the same command with resume=auto resumes it" in stderr
    assert "Traceback" not in stderr
    assert run_dir.read_results(first)["status"] == "interrupted"
    assert (first / "last.pt").exists()
    assert len(find_runs(tmp_path)) == 1, "a job in the queue has started"
    assert [line.split(": ")[:2] for line in stderr.splitlines() if line.startswith("interrupted")] == [
        ["interrupted", f"{seed}-seed={seed}"] for seed in range(3)
    ]
    sweeps.wait_for_ends(jobs)


@pytest.mark.parametrize("name", NAMES)
def test_commands_with_different_launchers_share_a_sweep(name: str, tmp_path: Path) -> None:
    write(tmp_path, OWN)
    ends = [f"count{number}" for number in range(5)]
    words = (*FRAGILE, f"data.end={','.join(ends)}")
    commands = [launch(name), [word for word in launch(name) if not word.startswith("hydra/launcher")]]
    processes = [start(*command, *words, cwd=tmp_path) for command in commands]
    for process in processes:
        stdout, stderr = process.communicate(timeout=180)
        assert process.returncode == 0, stdout + stderr
        assert stdout.count("] finished") == 5
    assert [(tmp_path / end).stat().st_size for end in ends] == [1] * 5
    schedulers = {
        json.loads(path.read_text())["scheduler"]
        for path in (tmp_path / "outputs/sweep/.jobs").glob("[0-9]*/.attempt-*.json")
    }
    assert len(schedulers) in (1, 2)
