"""Each job of a sweep has GPUs of its own, which the next job gets."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.commands import SMALL, write
from tests.helpers.states import fork
from trainer.config import compose
from trainer.runs import sweep
from trainer.runs.launchers import device_slots
from trainer.utils import gpus
from trainer.utils.errors import SystemFault

DATA = """
import json
import os
import time
from pathlib import Path
from trainer.data.datasets.tabular.synthetic import Moons

def count_running(device):
    return len([*Path().glob(f"running-{device}-*")])

class Observed(Moons):
    shapes = "x (B, F) -> (B)"
    def __init__(self, rows: int, number: int, together: int):
        device = os.environ.get("CUDA_VISIBLE_DEVICES")
        begin, running, met = time.monotonic(), Path(f"running-{device}-{number}"), Path(f"met-{device}")
        running.touch()
        time.sleep(0.3)
        # The first jobs of a device wait for each other, however slow their start is.
        while together > 1 and not met.exists() and time.monotonic() < begin + 60:
            if count_running(device) == together:
                met.touch()
            time.sleep(0.01)
        running.unlink()
        Path(f"times-{number}.json").write_text(json.dumps([begin, time.monotonic(), device]))
        super().__init__(rows, 0.2, 0)
"""
OPTIONS = "rows: 60\nnumber: 0\ntogether: 1\n"
OWN = {"own_observed.py": DATA, "c/data/observed.yaml": f"# own\n_target_: own_observed.Observed\n{OPTIONS}"}
OBSERVED = ("plugins=[own_observed]", "model=mlp", "data=observed", "epochs=1", "threads=1", "draw=false")


@pytest.fixture(autouse=True)
def _fake_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(write(tmp_path, OWN))
    monkeypatch.setattr(gpus, "count_cuda_devices", lambda: 2)
    monkeypatch.setenv(gpus.VISIBLE_DEVICES, "MIG-b,MIG-a")
    yield
    os.environ[gpus.VISIBLE_DEVICES] = "MIG-b,MIG-a"


def observe_jobs(*overrides: str, jobs: int = 5) -> tuple[dict[str, int], int]:
    """Run a sweep; return the maximum number of jobs at a time by value of the variable, and the number of jobs."""
    numbers = ",".join(map(str, range(jobs)))
    assert sweep.run_sweep([*OBSERVED, f"data.number={numbers}", *overrides], [Path("c").absolute()]) == 0
    times = [json.loads(path.read_text()) for path in Path().glob("times-*.json")]
    most: dict[str, int] = {}
    for start, _, name in times:
        running = sum(other_start <= start < end for other_start, end, other in times if other == name)
        most[name] = max(running, most.get(name, 0))
    return most, len(times)


@pytest.mark.slow
def test_a_gpu_has_one_job_at_a_time_and_is_used_again() -> None:
    assert observe_jobs() == ({"MIG-a": 1, "MIG-b": 1}, 5)


@pytest.mark.slow
def test_the_check_finds_two_jobs_on_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: without locks, all jobs take the first GPU."""
    monkeypatch.setattr(device_slots.fcntl, "flock", lambda *_: None)
    assert observe_jobs("data.together=2")[0] == {"MIG-b": 2}


@pytest.mark.slow
def test_jobs_per_device_sets_the_number_of_jobs_on_each_gpu() -> None:
    most, _ = observe_jobs("jobs_per_device=2", "data.together=2", jobs=8)
    assert most == {"MIG-a": 2, "MIG-b": 2}


def test_a_job_of_several_processes_takes_several_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "count_cuda_devices", lambda: 5)
    monkeypatch.setenv(gpus.VISIBLE_DEVICES, "0,1,2,3,4")
    settings = replace(compose.compose(SMALL).settings, devices=2)
    reader, writer = os.pipe()
    ends = os.pipe()
    pids = []
    for _ in range(2):
        if not (pid := fork()):
            with device_slots.occupy_devices(settings, tmp_path):
                os.write(writer, f"{os.environ[gpus.VISIBLE_DEVICES]}\n".encode())
                os.read(ends[0], 1)
            os._exit(0)
        pids.append(pid)
    with open(reader) as lines:
        taken = sorted(lines.readline().strip() for _ in pids)
    os.write(ends[1], b"xx")
    for pid in pids:
        os.waitpid(pid, 0)
    assert [len(names.split(",")) for names in taken] == [2, 2]
    assert len({name for names in taken for name in names.split(",")}) == 4


@pytest.mark.slow
def test_a_job_that_names_its_gpu_keeps_the_variable(capfd: pytest.CaptureFixture[str]) -> None:
    """Each fails because there is no such GPU, but one after the other."""
    overrides = [*OBSERVED, "data.number=0,1", "device=cuda:1"]
    assert sweep.run_sweep(overrides, [Path("c").absolute()]) == 1
    assert "2 jobs, 1 at a time on 1 GPU, in " in capfd.readouterr().out


@pytest.mark.slow
def test_jobs_on_the_cpu_ignore_gpus() -> None:
    assert observe_jobs("device=cpu", "jobs=2", "data.together=2", jobs=2) == ({"MIG-b,MIG-a": 2}, 2)


def test_a_killed_job_frees_its_gpu(tmp_path: Path) -> None:
    settings = replace(compose.compose(SMALL).settings, device="cuda")
    reader, writer = os.pipe()
    pid = fork()
    if not pid:
        with device_slots.occupy_devices(settings, tmp_path):
            os.write(writer, os.environ[gpus.VISIBLE_DEVICES].encode())
            os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert os.read(reader, 100) == b"MIG-b"
    with device_slots.occupy_devices(settings, tmp_path):
        assert os.environ[gpus.VISIBLE_DEVICES] == "MIG-b"


def test_only_locks_that_are_held_are_closed_in_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(compose.compose(SMALL).settings, device="cuda", devices=2)
    hooks: list[object] = []
    monkeypatch.setattr(os, "register_at_fork", lambda *, after_in_child: hooks.append(after_in_child))
    answers = iter([True, False, True, False, True, True])  # two attempts in vain: the second GPU is in use
    lock = device_slots._try_lock
    monkeypatch.setattr(device_slots, "_try_lock", lambda path: lock(path) if next(answers) else None)
    with device_slots.occupy_devices(settings, tmp_path):
        assert len(hooks) == 2


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EACCES], ids=["no locks", "no permission"])
def test_a_file_that_cannot_be_locked_is_reported(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(device_slots.fcntl, "flock", refuse)
    settings = replace(compose.compose(SMALL).settings, device="cuda")
    with (
        pytest.raises(SystemFault, match=r"-gpu-\w+.lock: .*cannot be locked \(refused\); set TMPDIR"),
        device_slots.occupy_devices(settings, tmp_path),
    ):
        pass


def test_a_directory_without_permission_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_slots.tempfile, "gettempdir", lambda: str(tmp_path / "missing"))
    settings = replace(compose.compose(SMALL).settings, device="cuda")
    with pytest.raises(SystemFault, match="No such file"), device_slots.occupy_devices(settings, tmp_path):
        pass
