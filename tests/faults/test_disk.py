"""A disk that is full or cannot be written, at every single write of a run.

It is told in a sentence with exit code 4, and the run goes on to the same bits once there is room.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import commands
from tests.helpers.digest import digest
from trainer.cli import main
from trainer.engine import checkpoint
from trainer.runs import run_dir

WORDS = (
    *("model=vae", "data=linear_gaussian", "data.rows=120", "model.hidden=[4]", "epochs=2", "batch_size=32"),
    *("threads=1", "save_every=0", "val_every=1", "seed=1", "resume=auto", "hydra.run.dir=outputs/run"),
)
WRITES = "wax+"


class Disk:
    """Counts what is done to files below a folder, and from a certain call on refuses it all, or that call alone."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = place
        self.calls: list[str] = []
        self.fails_at: int | None = None
        self.number = errno.ENOSPC
        self.forever = True
        self.open = builtins.open
        for name in ("fsync", "replace", "mkdir", "link", "truncate"):
            monkeypatch.setattr(os, name, self.guarded(name, getattr(os, name)))
        for module in (builtins, io):
            monkeypatch.setattr(module, "open", self.opened)

    def count(self, what: str) -> None:
        self.calls.append(what)
        at = self.fails_at
        if at is not None and (len(self.calls) > at if self.forever else len(self.calls) == at + 1):
            raise OSError(self.number, os.strerror(self.number))

    def guarded(self, name: str, real: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.count(name)
            return real(*args, **options)

        return call

    def opened(self, file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if isinstance(file, int) or not set(mode) & set(WRITES) or not self.holds(file):
            return self.open(file, mode, *args, **options)
        self.count(f"open {Path(file).name}")
        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        raw.disk = self
        buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)  # type: ignore[operator]
        text = {key: value for key, value in options.items() if key in ("encoding", "errors", "newline")}
        return buffered if "b" in mode else io.TextIOWrapper(buffered, **text)

    def holds(self, file: Any) -> bool:
        return Path(os.path.abspath(file)).is_relative_to(self.place)


class Raw(io.FileIO):
    """A file of a disk."""

    disk: Disk

    def write(self, data: Any) -> int:
        self.disk.count(f"write {Path(str(self.name)).name}")
        return super().write(data)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    monkeypatch.chdir(tmp_path)
    return Disk(tmp_path, monkeypatch)


def outcome(path: Path) -> tuple[Any, ...]:
    said = run_dir.read_results(path)
    files = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    return (
        digest(checkpoint.load_checkpoint(path / checkpoint.LAST)),
        said["test"],
        said["artifacts"],
        said["status"],
        files,
    )


def answer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int | str | None, str]:
    """The exit code of the command in this process, and what it says of it."""
    monkeypatch.setattr("sys.argv", ["train", *WORDS])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main.main()
    return ended.value.code, capsys.readouterr().err


def spread(count: int) -> list[int]:
    """Some of so many places, the first and the last among them."""
    shown = min(count, int(os.environ.get("TRAIN_TEST_WRITES", "12")))
    return sorted({round(place * (count - 1) / (shown - 1)) for place in range(shown)})


@pytest.mark.slow
@pytest.mark.parametrize("forever", [True, False], ids=["from then on", "once"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
def test_a_write_that_fails_anywhere(
    number: int, forever: bool, disk: Disk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):  # what is imported writes caches of its own at the first
        shutil.rmtree("outputs", ignore_errors=True)
        disk.calls = []
        assert answer(capsys, monkeypatch)[0] == 0
    calls, path = list(disk.calls), Path("outputs/run")
    assert {"last.pt", "best.pt", "metrics.csv", "curves.png", "results.json", "config.yaml", ".lock", "train.log"} <= {
        call.split()[1].removeprefix("." * ("tmp" in call)).split(f".{os.getpid()}")[0] for call in calls if " " in call
    }
    whole = outcome(path)
    disk.number, disk.forever = number, forever
    for place in spread(len(calls)):
        shutil.rmtree("outputs")
        disk.calls, disk.fails_at = [], place
        code, said = answer(capsys, monkeypatch)
        what = f"call {place}, {calls[place]}: {said}"
        assert code == 4, what
        assert (len(said.splitlines()), os.strerror(number) in said, "Traceback" in said) == (1, True, False), what
        status = run_dir.read_results(path).get("status")
        if not forever and path.exists():
            assert status != "running", what
        was_finished = status == "finished"
        disk.fails_at = None
        code, said = answer(capsys, monkeypatch)
        assert code == 0, f"{what}; afterwards {said}"
        assert outcome(path) == whole, what
        assert was_finished or status != "finished"
        assert [found.name for found in Path("outputs").iterdir() if not found.is_symlink()] == ["run"], what
        json.loads((path / run_dir.RESULTS_FILE).read_text())


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


LARGE = ("model=mlp", "data=moons", "model.hidden=[512,512]", "threads=1", "epochs=2", "hydra.run.dir=outputs/run")
"""States of about three megabytes."""


@pytest.mark.slow
def test_too_little_disk_space_is_reported_before_the_first_step(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m"):
        done = commands.train(*LARGE, cwd=tmp_path / "disk")
        assert done.returncode == 4
        assert done.stderr.startswith("error: disk full: a checkpoint needs ")
        assert len(done.stderr.splitlines()) == 1
        assert not list((tmp_path / "disk").rglob("*.pt"))
        assert not (tmp_path / "disk/outputs/latest").is_symlink(), "it would lead nowhere"


@pytest.mark.slow
def test_a_disk_that_fills_up_and_is_cleared(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    with small_disk(place, "9m"):
        (place / "ballast").write_bytes(bytes(600_000))
        run = (*LARGE, "save_every=0", "epochs=4", "resume=auto")
        done = commands.train(*run, cwd=place)
        assert done.returncode == 4, done.stdout
        assert "No space left on device" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        said = run_dir.read_results(place / "outputs/run")
        assert said["status"] == "failed"
        assert "No space left on device" in said["reason"]
        (place / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=60m", str(place)], check=True)
        again = commands.train(*run, cwd=place)
        assert again.returncode == 0, again.stderr
        state = digest(checkpoint.load_checkpoint(place / "outputs/run/last.pt"))
    whole = commands.train(*LARGE, "save_every=0", "epochs=4", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert digest(checkpoint.load_checkpoint(tmp_path / "outputs/run/last.pt")) == state


@pytest.mark.slow
def test_a_run_on_a_disk_that_can_no_longer_be_written(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    with small_disk(place, "60m"):
        done = commands.train(*LARGE, cwd=place)
        assert done.returncode == 0, done.stderr
        (place / "outputs/run/curves.png").unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        for words in (("resume", "outputs/run"), LARGE, ("-m", "model=mlp", "data=moons", "seed=0,1")):
            done = commands.train(*words, cwd=place)
            assert (done.returncode, "Read-only file system" in done.stderr) == (4, True), done.stderr
            assert len(done.stderr.splitlines()) == 1
        assert run_dir.read_results(place / "outputs/run")["status"] == "finished"
