"""A full or read-only disk at each write of a run.

It is reported in one line with exit code 4, and the run resumes bit-exactly once the disk is writable.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import commands
from tests.helpers.digest import digest
from trainer.cli import main
from trainer.engine import checkpoint
from trainer.runs import run_dir
from trainer.utils import atomic_write

OVERRIDES = (
    *("model=vae", "data=linear_gaussian", "data.rows=120", "model.hidden=[4]", "epochs=2", "batch_size=32"),
    *("threads=1", "save_every=0", "val_every=1", "seed=1", "resume=auto", "hydra.run.dir=outputs/run"),
)
WRITE_MODES = "wax+"


class Disk:
    """Counts the calls that write below a folder; fails one of them, or all from one on."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = place
        self.calls: list[str] = []
        self.lock = threading.Lock()
        self.fails_at: int | None = None
        self.number = errno.ENOSPC
        self.forever = True
        self.is_full_for: Callable[[str], bool] = lambda _: False
        self.open = builtins.open
        for name in ("fsync", "replace", "mkdir", "link", "truncate"):
            monkeypatch.setattr(os, name, self.count_calls(name, getattr(os, name)))
        for module in (builtins, io):
            monkeypatch.setattr(module, "open", self.open_counted)

    def count(self, name: str) -> None:
        with self.lock:  # checkpoints are written in a thread
            self.calls.append(name)
            number, at = len(self.calls), self.fails_at
        fails = at is not None and (number > at if self.forever else number == at + 1)
        if fails or self.is_full_for(name):
            raise OSError(self.number, os.strerror(self.number))

    def count_calls(self, name: str, real: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.count(name)
            return real(*args, **options)

        return call

    def open_counted(self, file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if isinstance(file, int) or not set(mode) & set(WRITE_MODES) or not self.contains(file):
            return self.open(file, mode, *args, **options)
        self.count(f"open {Path(file).name}")
        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        raw.disk = self
        buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)  # type: ignore[operator]
        text = {key: value for key, value in options.items() if key in ("encoding", "errors", "newline")}
        return buffered if "b" in mode else io.TextIOWrapper(buffered, **text)

    def contains(self, file: Any) -> bool:
        return Path(os.path.abspath(file)).is_relative_to(self.place)


class Raw(io.FileIO):
    """A file whose writes are counted."""

    disk: Disk

    def write(self, data: Any) -> int:
        self.disk.count(f"write {Path(str(self.name)).name}")
        return super().write(data)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    monkeypatch.chdir(tmp_path)
    return Disk(tmp_path, monkeypatch)


def outcome(path: Path) -> tuple[Any, ...]:
    results = run_dir.read_results(path)
    files = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    return (
        digest(checkpoint.load_checkpoint(path / checkpoint.LAST)),
        results["test"],
        results["artifacts"],
        results["status"],
        files,
    )


def run_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, overrides: Sequence[str] = OVERRIDES
) -> tuple[int | str | None, str]:
    """Run the command in this process; return its exit code and stderr."""
    monkeypatch.setattr("sys.argv", ["train", *overrides])
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main.main()
    return caught.value.code, capsys.readouterr().err


def select_indices(count: int) -> list[int]:
    """Return some of ``count`` indices, including the first and the last."""
    selected = min(count, int(os.environ.get("TRAIN_TEST_WRITES", "8")))
    return sorted({round(number * (count - 1) / (selected - 1)) for number in range(selected)})


@pytest.mark.slow
@pytest.mark.parametrize("forever", [True, False], ids=["permanent", "once"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
def test_failed_write_is_reported_and_the_run_resumes(
    number: int, forever: bool, disk: Disk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):  # imports write caches in the first run
        shutil.rmtree("outputs", ignore_errors=True)
        disk.calls = []
        assert run_command(capsys, monkeypatch)[0] == 0
    calls, path = list(disk.calls), Path("outputs/run")
    assert {"last.pt", "best.pt", "metrics.csv", "curves.png", "results.json", "config.yaml", ".lock", "train.log"} <= {
        call.split()[1].removeprefix("." * ("tmp" in call)).split(f".{os.getpid()}")[0] for call in calls if " " in call
    }
    whole = outcome(path)
    disk.number, disk.forever = number, forever
    for index in select_indices(len(calls)):
        shutil.rmtree("outputs")
        disk.calls, disk.fails_at = [], index
        code, stderr = run_command(capsys, monkeypatch)
        failed = disk.calls[index]  # the order of calls of two threads differs from run to run
        message = f"call {index}, {failed}: {stderr}"
        if failed == "link" and not forever:  # the checkpoint is copied instead
            assert (code, outcome(path)) == (0, whole), message
            continue
        assert code == 4, message
        assert (len(stderr.splitlines()), os.strerror(number) in stderr, "Traceback" in stderr) == (1, True, False), (
            message
        )
        status = run_dir.read_results(path).get("status")
        if not forever and path.exists():
            assert status != "running", message
        was_finished = status == "finished"
        disk.fails_at = None
        code, stderr = run_command(capsys, monkeypatch)
        assert code == 0, f"{message}; then {stderr}"
        assert outcome(path) == whole, message
        assert was_finished or status != "finished"
        assert [found.name for found in Path("outputs").iterdir() if not found.is_symlink()] == ["run"], message
        json.loads((path / run_dir.RESULTS_FILE).read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_files"), [("last.pt", 3), ("best.pt", 2)])
def test_a_full_disk_names_the_space_and_the_last_checkpoint(
    name: str, num_files: int, disk: Disk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is full for the third state, or for the second best weights."""
    monkeypatch.setattr(atomic_write, "get_free_bytes", lambda _: 5_300_000)

    def is_full(call: str) -> bool:
        return call.startswith(f"write .{name}") and disk.calls.count(f"open .{name}.{os.getpid()}.tmp") >= num_files

    disk.is_full_for = is_full
    overrides = (*MEDIUM, "save_every=0", "epochs=4")
    code, stderr = run_command(capsys, monkeypatch, overrides)
    path = Path("outputs/run")
    step = checkpoint.load_checkpoint(path / checkpoint.LAST)["position"]["step"]
    size = (path / name).stat().st_size
    assert size > 500_000
    pattern = (
        r"error: cannot write .*{name}: No space left on device; it needs (\d+\.\d) MB \(\d\.\d MB written\),"
        r" 5\.3 MB free; {name} is unchanged; last good checkpoint: step (\d+)\n"
    )
    found = re.fullmatch(pattern.replace("{name}", re.escape(name)), stderr)
    assert found is not None, stderr
    assert (code, found[2]) == (4, str(step))
    assert abs(float(found[1]) - size / 1e6) < 0.1
    assert run_dir.read_results(path)["reason"] == stderr.strip().replace("error", "SystemFault", 1)


@contextlib.contextmanager
def mount_tmpfs(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs permission to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


MEDIUM = (
    *("model=mlp", "data=moons", "data.rows=200", "model.hidden=[400,400]", "threads=1"),
    *("batch_size=32", "hydra.run.dir=outputs/run"),
)
"""States of about two megabytes."""
LARGE = ("model=mlp", "data=moons", "model.hidden=[512,512]", "threads=1", "epochs=2", "hydra.run.dir=outputs/run")
"""States of about three megabytes."""


@pytest.mark.slow
def test_too_little_disk_space_is_reported_before_the_first_step(tmp_path: Path) -> None:
    with mount_tmpfs(tmp_path / "disk", "2m"):
        done = commands.train(*LARGE, cwd=tmp_path / "disk")
        assert done.returncode == 4
        assert done.stderr.startswith("error: disk full: a checkpoint needs ")
        assert len(done.stderr.splitlines()) == 1
        assert not list((tmp_path / "disk").rglob("*.pt"))
        assert not (tmp_path / "disk/outputs/latest").is_symlink(), "the link would be broken"


@pytest.mark.slow
def test_run_resumes_after_a_full_disk_is_cleared(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mount_tmpfs(disk, "9m"):
        (disk / "ballast").write_bytes(bytes(600_000))
        run = (*LARGE, "save_every=0", "epochs=4", "resume=auto")
        done = commands.train(*run, cwd=disk)
        assert done.returncode == 4, done.stdout
        assert re.search(
            r"/last\.pt: No space left on device; it needs 3\.\d MB \([0-3]\.\d MB written\), [0-3]\.\d MB free;"
            r" last\.pt is unchanged; last good checkpoint: step [1-9]\d*$",
            done.stderr.rstrip("\n"),
        ), done.stderr
        assert len(done.stderr.splitlines()) == 1
        results = run_dir.read_results(disk / "outputs/run")
        assert results["status"] == "failed"
        assert "No space left on device" in results["reason"]
        (disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
        again = commands.train(*run, cwd=disk)
        assert again.returncode == 0, again.stderr
        state = digest(checkpoint.load_checkpoint(disk / "outputs/run/last.pt"))
    whole = commands.train(*LARGE, "save_every=0", "epochs=4", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert digest(checkpoint.load_checkpoint(tmp_path / "outputs/run/last.pt")) == state


@pytest.mark.slow
def test_read_only_disk_is_reported(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mount_tmpfs(disk, "60m"):
        done = commands.train(*LARGE, cwd=disk)
        assert done.returncode == 0, done.stderr
        (disk / "outputs/run/curves.png").unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for arguments in (("resume", "outputs/run"), LARGE, ("-m", "model=mlp", "data=moons", "seed=0,1")):
            done = commands.train(*arguments, cwd=disk)
            assert (done.returncode, "Read-only file system" in done.stderr) == (4, True), done.stderr
            assert len(done.stderr.splitlines()) == 1
        assert run_dir.read_results(disk / "outputs/run")["status"] == "finished"
