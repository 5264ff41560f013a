"""Several commands on one sweep: no job is run twice, also without ``flock`` and without knowledge of processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

import trainer
from tests.helpers.commands import find_runs, write
from tests.helpers.interruptions import read_table
from tests.helpers.states import fork
from tests.helpers.sweeps import wait_until
from trainer.runs import job_attempt, run_dir, sweep, sweep_scheduler
from trainer.runs.launchers.launcher import Launcher
from trainer.runs.sweep_job import Job
from trainer.utils import exclusive_file, process_identity
from trainer.utils.errors import UserError

DATA = """
import os
import time
from trainer.data.datasets.tabular.synthetic import Moons

class Counted(Moons):
    shapes = "x (B, F) -> (B)"
    def __init__(self, rows: int, number: int, seconds: float):
        descriptor = os.open(f"runs-{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, b".")
        os.close(descriptor)
        time.sleep(seconds)
        while os.path.exists("hold"):
            time.sleep(0.01)
        super().__init__(rows, 0.2, 0)
"""
OWN = {
    "own_counted.py": DATA,
    "c/data/counted.yaml": "# own\n_target_: own_counted.Counted\nrows: 60\nnumber: 0\nseconds: 0.3\n",
}
JOBS = 6
COUNTED = (
    *("plugins=[own_counted]", "model=mlp", "data=counted", "epochs=1", "threads=1", "draw=false", "jobs=2"),
    *(f"data.number={','.join(map(str, range(JOBS)))}", "resume=auto"),
)

pytestmark = pytest.mark.slow


STARTED: set[int] = set()
"""Sweeps that have not been waited for."""


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(write(tmp_path, OWN))
    trainer.compose(["model=mlp", "data=moons"])  # imports once for all children
    yield
    for pid in [*STARTED]:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        wait(pid)


def start_together(count: int) -> None:
    """Let no command start a job before as many have begun: what ended before that is not their business."""
    run_jobs = sweep_scheduler.run_jobs

    def wait_and_run(jobs: Sequence[Job], launcher: Launcher) -> int | None:
        Path(f"begun-{os.getpid()}").touch()
        wait_until(lambda: len([*Path().glob("begun-*")]) >= count)
        return run_jobs(jobs, launcher)

    sweep_scheduler.run_jobs = wait_and_run


def start_sweep(name: str, *overrides: str, count: int = 2, prepare: Callable[[], object] = lambda: None) -> int:
    """Start the sweep, one of ``count``, in a forked process with its own session; return its pid."""
    pid = fork()
    if pid:
        STARTED.add(pid)
        return pid
    code = 1
    try:
        os.setsid()
        output = os.open(f"output-{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115  not pytest's
        prepare()
        start_together(count)
        code = sweep.run_sweep([*COUNTED, *overrides], [Path("c").absolute()])
    except UserError as error:
        print(error)
        code = error.exit_code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int) -> int:
    STARTED.remove(pid)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def count_runs() -> list[int]:
    return [Path(f"runs-{number}").stat().st_size for number in range(JOBS)]


def check_outcome() -> Path:
    """Return the directory of the sweep, in which every job is finished."""
    (root,) = Path("outputs/sweeps").glob("*/*")
    assert [run_dir.read_results(path)["status"] for path in find_runs(root)] == ["finished"] * JOBS
    assert sum(int(row["runs"]) for row in read_table(root / "leaderboard.csv")) == JOBS
    return root


def be_elsewhere() -> None:
    process_identity.get_machine_id = lambda: f"machine {os.getpid()}"  # type: ignore[assignment]


@pytest.mark.parametrize("prepare", [lambda: None, be_elsewhere], ids=["one machine", "two machines"])
def test_two_commands_at_once_share_the_jobs(prepare: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_dir.fcntl, "flock", lambda *_: None)  # as on some shared file systems
    pids = [start_sweep(name, prepare=prepare) for name in "ab"]
    assert [wait(pid) for pid in pids] == [0, 0], Path("output-a").read_text() + Path("output-b").read_text()
    assert count_runs() == [1] * JOBS
    check_outcome()
    for name in "ab":
        lines = [line for line in Path(f"output-{name}").read_text().splitlines() if "] finished" in line]
        assert len(lines) == JOBS, "each command tells the outcome of every job"


def test_the_check_finds_a_job_that_ran_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: with files that anyone may create, both commands run every job."""
    monkeypatch.setattr(run_dir.fcntl, "flock", lambda *_: None)
    monkeypatch.setattr(job_attempt, "create_exclusive", lambda path, text: path.write_text(text) > 0)
    monkeypatch.setattr(job_attempt.AttemptWatcher, "find_current", lambda _: None)
    for pid in [start_sweep(name) for name in "ab"]:
        wait(pid)
    assert max(count_runs()) > 1


def test_a_command_takes_over_the_jobs_of_one_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_dir.fcntl, "flock", lambda *_: None)
    Path("hold").touch()
    first = start_sweep("a", count=1)
    wait_until(lambda: Path("runs-0").exists() and Path("runs-1").exists())
    second = start_sweep("b", count=1)
    wait_until(Path("runs-2").exists)  # it has left the first two to the other command
    os.killpg(first, signal.SIGKILL)
    wait(first)
    Path("hold").unlink()
    assert wait(second) == 0, Path("output-b").read_text()
    assert count_runs() == [2, 2, *[1] * (JOBS - 2)], "those that were killed ran twice"
    check_outcome()


def test_a_job_that_fails_for_one_command_is_not_repeated_by_the_other() -> None:
    overrides = ("data.number=0", "data.rows=1,60")
    pids = [start_sweep(name, *overrides) for name in "ab"]
    assert [wait(pid) for pid in pids] == [1, 1]
    assert Path("runs-0").stat().st_size == 2
    assert all(
        ": 0-data.number=0,data.rows=1: data: every val label" in Path(f"output-{name}").read_text() for name in "ab"
    )


def test_the_directory_is_chosen_by_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both find no earlier run at first, and have different directories by the time of their start."""
    monkeypatch.setattr(exclusive_file.os, "fsync", lambda _: time.sleep(0.2))
    pids = [start_sweep(name, f"hydra.sweep.dir=outputs/sweeps/day/{name}") for name in "ab"]
    assert [wait(pid) for pid in pids] == [0, 0]
    assert count_runs() == [1] * JOBS
    check_outcome()
