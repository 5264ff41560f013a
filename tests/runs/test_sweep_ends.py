"""How jobs and sweeps end: reported reasons, saved states, no orphans, and resuming."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.commands import SMALL, find_runs, start, train, write
from tests.helpers.held_runs import HOLD, STEP, HeldRun
from tests.helpers.sweeps import find_descendants, wait_for_ends, wait_until
from trainer.runs import run_dir, sweep, sweep_job

DATA = """
import os
import signal
from trainer.data.datasets.tabular.synthetic import Moons

class Mortal(Moons):
    shapes = "x (B, F) -> (B)"
    def __init__(self, rows: int, by: int):
        if by:
            print("the last words of a job", flush=True)
            os.kill(os.getpid(), by)
        super().__init__(rows, 0.2, 0)
"""
OWN = {"own_mortal.py": DATA, "c/data/mortal.yaml": "# own\n_target_: own_mortal.Mortal\nrows: 300\nby: 0\n"}
MORTAL = ("--config-dir", "c", "plugins=[own_mortal]", "model=mlp", "data=mortal", "epochs=2", "threads=1")

pytestmark = pytest.mark.slow


def test_killed_job_is_reported_by_its_signal(tmp_path: Path) -> None:
    write(tmp_path, OWN)
    done = train("-m", *MORTAL, "data.by=9,0,11", "hydra.sweep.dir=outputs/sweep", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "failed: 0-data.by=9: killed by signal 9 (SIGKILL): often out of memory",
        "failed: 2-data.by=11: killed by signal 11 (SIGSEGV)",
    ]
    results = [run_dir.read_results(path) for path in find_runs(tmp_path)]
    assert [run["status"] for run in results] == ["failed", "finished", "failed"]
    assert results[0]["reason"] == "killed by signal 9 (SIGKILL): often out of memory"


def test_sweep_does_not_reap_children_of_its_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller may have child processes of its own."""
    monkeypatch.chdir(tmp_path)
    child = os.fork()
    if not child:
        os._exit(7)
    assert sweep.run_sweep([*SMALL, "seed=0,1", "jobs=1"], ()) == 0
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize("letter", ["a", "あ", "é", "\udce3", "𝄞"])
def test_job_name_is_a_valid_file_name(letter: str, tmp_path: Path) -> None:
    (first, second) = (sweep.name_job(number, [f"data.path={letter * 200}"], {"data.path"}) for number in (0, 1))
    for name in (first, second):
        (tmp_path / f"{name}{run_dir.JOB_OUTPUT_SUFFIX}").touch()
        assert os.fsencode(name).decode("utf-8", "surrogateescape")[:-1].endswith(letter)
    assert first.startswith("0-data.path=")
    assert len(os.fsencode(first)) > 100


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
@pytest.mark.parametrize("at_once", [True, False])
def test_job_is_saved_and_ends_when_its_sweep_is_killed(at_once: bool, tmp_path: Path) -> None:
    overrides = ("-m", *SMALL[:3], "threads=1", "epochs=9", "seed=0,1", "jobs=1", "resume=auto", *HOLD)
    overrides = (*overrides, "save_every=1000", "hydra.sweep.dir=outputs/sweep")
    held = HeldRun(tmp_path)
    process = start(*overrides, cwd=tmp_path)
    first = tmp_path / "outputs/sweep/0-seed=0"
    wait_until(held.is_held, process)
    (job,) = find_descendants(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    if not at_once:
        wait_for_ends([job])
        results = run_dir.read_results(first)
        assert (results["status"], results["reason"]) == ("interrupted", "Interrupted: stopped by SIGTERM")
        assert results["steps"] == STEP
        assert (first / "last.pt").exists(), "the job saved no checkpoint"
    done = train(*overrides, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in find_runs(tmp_path)] == ["0-seed=0", "1-seed=1"]
    assert [run_dir.read_results(path)["status"] for path in find_runs(tmp_path)] == ["finished"] * 2
    assert f"from step {STEP}" in (tmp_path / "outputs/sweep/0-seed=0.out").read_text()


@pytest.mark.parametrize("send", [os.kill, os.killpg])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_to_sweep_or_its_group_saves_the_jobs(
    send: Callable[[int, int], None], number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """A terminal signals every process of the sweep, ``kill PID`` the parent alone."""
    overrides = ("-m", *SMALL[:3], "threads=1", "epochs=100000", "seed=0,1", "jobs=1", "hydra.sweep.dir=outputs/sweep")
    process = start(*overrides, cwd=tmp_path)
    wait_until((tmp_path / "outputs/sweep/0-seed=0/metrics.csv").exists, process)
    send(process.pid, number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stdout + stderr
    assert "resume=auto resumes it" in stderr
    (line,) = (line for line in stdout.splitlines() if line.startswith("[1/2] interrupted"))
    assert not line.endswith(" left")
    assert run_dir.read_results(tmp_path / "outputs/sweep/0-seed=0")["status"] == "interrupted"
    assert (tmp_path / "outputs/sweep/0-seed=0/last.pt").exists()


@pytest.mark.parametrize(("code", "status"), [(-15, "interrupted"), (-2, "interrupted"), (-9, "failed"), (3, "failed")])
def test_outcome_of_a_waiting_job_depends_on_its_exit_code(code: int, status: str, tmp_path: Path) -> None:
    assert sweep_job.job_outcome(sweep_job.Job(None, tmp_path / "0", "waiting"), code)[0] == status


def test_job_output_contains_no_environment_value(tmp_path: Path) -> None:
    rows = "".join(f"{row},{row % 2}\n" for row in range(60))
    write(tmp_path, {"SECRET123.csv": f"a,kind\n{rows}"})
    overrides = ("model=mlp", "data=csv", "data.path=${oc.env:DOOR}.csv", "data.target=kind,nope", "max_steps=2")
    done = train("-m", *overrides, cwd=tmp_path, env={"DOOR": "SECRET123"})
    assert done.returncode == 1, done.stderr
    files = [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()]
    assert any("read as: ${oc.env:DOOR}.csv" in path.read_text() for path in files if path.suffix == ".out")
    assert [path.name for path in files if b"SECRET123" in path.read_bytes()] == []
