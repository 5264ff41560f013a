"""Run directories: names, locks, the search for a run, and the latest link."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.commands import write
from tests.helpers.states import run_in_child
from trainer.runs import run_dir, run_log
from trainer.utils.errors import ConfigError, SystemFault


def test_names_are_unique(tmp_path: Path) -> None:
    wanted = str(tmp_path / "day" / "run")
    assert [run_dir.claim_dir(wanted).name for _ in range(3)] == ["run", "run-2", "run-3"]


def test_directory_that_cannot_be_created_is_a_system_fault(tmp_path: Path) -> None:
    write(tmp_path, {"file": ""})
    with pytest.raises(SystemFault, match="cannot create"):
        run_dir.claim_dir(str(tmp_path / "file" / "run"))


def test_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    code = "import os\nfrom pathlib import Path\nfrom trainer.runs import run_dir\n"
    code += f"path = Path({str(tmp_path)!r})\nwith run_dir.lock_run(path):\n"
    code += "    print(os.getpid(), flush=True)\n    input()\n"
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as holder:
        try:
            assert holder.stdout is not None
            pid = holder.stdout.readline().strip()
            with pytest.raises(ConfigError, match=f"in use by process {pid}"), run_dir.lock_run(tmp_path):
                pass
        finally:
            holder.kill()
    with run_dir.lock_run(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_forked_child_does_not_hold_the_lock(tmp_path: Path) -> None:
    with run_dir.lock_run(tmp_path):
        child = os.fork()
        if child == 0:
            time.sleep(1000)
            os._exit(0)
    try:
        with run_dir.lock_run(tmp_path, timeout=60):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_lock_with_timeout_waits_for_release(tmp_path: Path) -> None:
    release = threading.Event()

    def hold() -> None:
        with run_dir.lock_run(tmp_path):
            release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    while not (tmp_path / ".lock").exists() or not (tmp_path / ".lock").read_text():
        time.sleep(0.01)
    with pytest.raises(run_dir.RunInUseError), run_dir.lock_run(tmp_path, timeout=0.2):
        pass
    threading.Timer(0.2, release.set).start()
    with run_dir.lock_run(tmp_path, timeout=30):
        assert not holder.is_alive() or release.is_set()
    holder.join()


def test_a_lock_that_is_tested_for_an_instant_is_waited_for(tmp_path: Path) -> None:
    with run_dir.lock_run(tmp_path):
        pass
    with open(tmp_path / ".lock", encoding="utf-8") as reader:  # as a command that lists runs
        fcntl.flock(reader, fcntl.LOCK_SH)
        threading.Timer(0.05, fcntl.flock, (reader, fcntl.LOCK_UN)).start()
        with run_dir.lock_run(tmp_path):
            assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_a_file_system_without_locks_is_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    with run_dir.lock_run(tmp_path):
        assert "Operation not supported" in caplog.text


def test_an_unwritable_log_is_reported(tmp_path: Path) -> None:
    logger = logging.getLogger("trainer")
    with run_log.log_to_file(tmp_path):
        handler = next(handler for handler in logger.handlers if isinstance(handler, run_log.RunLogHandler))
        handler.stream.close()
        handler.stream = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
        with pytest.raises(SystemFault, match=r"cannot write .*train\.log: No space left on device"):
            logger.info("a line")
    assert handler not in logger.handlers


def test_unwritable_lock_or_log_is_a_system_fault(tmp_path: Path) -> None:
    for name, block in ((".lock", run_dir.lock_run), ("train.log", run_log.log_to_file)):
        (tmp_path / name).mkdir()
        with pytest.raises(SystemFault, match=f"cannot write .*{name}: Is a directory"), block(tmp_path):
            pass


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_invalid_results_file_is_read_as_empty(text: str, tmp_path: Path) -> None:
    assert run_dir.read_results(write(tmp_path, {"results.json": text})) == {}
    assert run_dir.read_results(tmp_path / "nope") == {}


def test_remove_if_empty_keeps_a_checkpoint(tmp_path: Path) -> None:
    empty, full = (write(tmp_path / name, {"config.yaml": ""}) for name in ("empty", "full"))
    write(full, {"last.pt": ""})
    run_dir.remove_if_empty(empty)
    run_dir.remove_if_empty(full)
    assert (empty.exists(), full.exists()) == (False, True)


def test_a_user_folder_is_neither_used_nor_removed(tmp_path: Path) -> None:
    user_folder = write(tmp_path / "mine", {"thesis.txt": "", "notes/page": ""})
    assert run_dir.claim_run(str(user_folder), may_reuse=True).path == tmp_path / "mine-2"
    killed = write(tmp_path / "killed", {".lock": "", "train.log": "", ".config.yaml.7.tmp": ""})
    assert run_dir.claim_run(str(killed)).path == tmp_path / "killed-2"
    first = run_dir.claim_run(str(killed), may_reuse=True)
    assert first.path == killed
    assert run_dir.claim_run(str(killed), may_reuse=True).path == tmp_path / "killed-3", "it is already claimed"
    assert not run_dir.remove_if_empty(user_folder)
    assert run_dir.remove_if_empty(killed)
    assert ((user_folder / "thesis.txt").exists(), killed.exists()) == (True, False)


def test_a_claimed_folder_is_locked_until_its_run_has_ended(tmp_path: Path) -> None:
    path, lock = run_dir.claim_run(str(tmp_path / "run"))
    assert run_in_child(lambda: enter_lock(path)) == 3
    with run_dir.lock_run(path, lock=lock):
        assert run_in_child(lambda: enter_lock(path)) == 3
    assert run_in_child(lambda: enter_lock(path)) == 0


def enter_lock(path: Path) -> None:
    """Lock a run directory; exit with code 3 if it is in use."""
    try:
        with run_dir.lock_run(path):
            pass
    except run_dir.RunInUseError:
        os._exit(3)


@pytest.mark.parametrize("may_reuse", [True, False])
@pytest.mark.slow
def test_concurrent_claims_get_distinct_directories(may_reuse: bool, tmp_path: Path) -> None:
    """Each process locks its directory at once, and some finish before others start to look."""
    for attempt in range(10):
        wanted = write(tmp_path / f"{attempt}", {".lock": "1", "train.log": ""} if may_reuse else {"x": ""}) / "run"
        if may_reuse:
            wanted = wanted.parent
        reading, writing = os.pipe()

        def claim(wanted: Path = wanted, gate: int = reading, other: int = writing) -> None:
            os.close(other)
            os.read(gate, 1)
            path, lock = run_dir.claim_run(str(wanted), may_reuse=may_reuse)
            with run_dir.lock_run(path, lock=lock):
                (path / f"{os.getpid()}.out").touch()
                (path / run_dir.RESULTS_FILE).touch()

        children = []
        for _ in range(5):
            child = os.fork()
            if not child:
                code = 1
                try:
                    claim()
                    code = 0
                finally:
                    os._exit(code)
            children.append(child)
        os.close(reading)
        os.close(writing)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 5
        claimed = [path for path in tmp_path.glob(f"{attempt}*/**") if list(path.glob("*.out"))]
        assert [len(list(path.glob("*.out"))) for path in claimed] == [1] * 5


def test_directory_of_an_abandoned_sweep_is_reused(tmp_path: Path) -> None:
    begun = write(tmp_path / "begun", {"0-seed=0.out": "words", "0-seed=0/.lock": "", "1-seed=1/config.yaml": ""})
    assert run_dir.claim_dir(str(begun), run_dir.is_abandoned_sweep) == begun
    assert run_dir.claim_dir(str(begun)) == tmp_path / "begun-2"
    for place in ("0-seed=0/results.json", "0-seed=0/last.pt", "leaderboard.csv", "notes/page"):
        used = write(tmp_path / place.replace("/", "-"), {"0-seed=0/.lock": "", place: ""})
        assert run_dir.claim_dir(str(used), run_dir.is_abandoned_sweep).name == f"{used.name}-2"


@pytest.mark.usefixtures("in_tmp")
def test_latest_link_points_to_the_newest_run_in_outputs() -> None:
    for name in ("a", "b"):
        Path("outputs", name).mkdir(parents=True)
        run_dir.link_latest(Path("outputs", name))
    assert Path("outputs/latest").readlink() == Path("b")
    Path("elsewhere").mkdir()
    run_dir.link_latest(Path("elsewhere"))
    assert Path("outputs/latest").readlink() == Path("b"), "only runs below outputs are linked"


@pytest.mark.usefixtures("in_tmp")
def test_a_user_folder_named_latest_is_kept() -> None:
    for name in ("a", "latest"):
        Path("outputs", name).mkdir(parents=True)
    run_dir.link_latest(Path("outputs/a"))
    assert not Path("outputs/latest").is_symlink()
