"""Attempts: one process at a time runs a job, and an abandoned job is taken over by one."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.states import fork
from tests.helpers.sweeps import wait_until
from trainer.runs import job_attempt
from trainer.runs.job_attempt import AttemptWatcher, OwnAttempt, find_latest, hold_exclusively
from trainer.utils import process_identity


def begin(folder: Path, scheduler: str = "a") -> OwnAttempt | None:
    return AttemptWatcher(folder, scheduler).begin()


def change_values(attempt: OwnAttempt, **values: Any) -> None:
    attempt.path.write_text(json.dumps(json.loads(attempt.path.read_text()) | values))


def make_old(attempt: OwnAttempt) -> None:
    os.utime(attempt.path, (time.time() - 1000, time.time() - 1000))


def test_attempts_are_numbered_and_exclude_each_other(tmp_path: Path) -> None:
    first = begin(tmp_path / "job")
    assert first is not None
    assert begin(tmp_path / "job") is None
    assert begin(tmp_path / "job", "b") is None
    first.finish(1)
    latest = find_latest(tmp_path / "job")
    assert latest is not None
    assert (latest.number, latest.code, latest.is_running, latest.scheduler) == (0, 1, False, "a")
    second = begin(tmp_path / "job", "b")
    assert second is not None
    assert second.number == 1


@pytest.mark.parametrize("code", [0, 1, -9])
def test_a_job_that_another_command_ends_meanwhile_is_not_run_again(code: int, tmp_path: Path) -> None:
    watcher = AttemptWatcher(tmp_path, "b")
    other = begin(tmp_path)
    assert other is not None
    other.finish(code)
    assert watcher.begin() is None
    current = watcher.find_current()
    assert current is not None
    assert current.code == code


@pytest.mark.parametrize("code", [130, 143, 129, -15])
def test_a_job_that_was_stopped_meanwhile_is_taken_over(code: int, tmp_path: Path) -> None:
    watcher = AttemptWatcher(tmp_path, "b")
    other = begin(tmp_path)
    assert other is not None
    other.finish(code)
    assert watcher.find_current() is None
    assert watcher.begin() is not None


def test_the_own_end_counts_also_if_stopped_unless_requeued(tmp_path: Path) -> None:
    watcher = AttemptWatcher(tmp_path, "a")
    own = watcher.begin()
    assert own is not None
    own.finish(143, requeued=True)
    again = watcher.begin()
    assert again is not None
    assert again.number == 1
    again.finish(143)
    current = watcher.find_current()
    assert current is not None
    assert (current.code, current.is_requeued) == (143, False)
    assert watcher.begin() is None


def test_attempt_of_a_killed_process_is_abandoned_when_its_job_has_ended(tmp_path: Path) -> None:
    """The process that watches a job may be killed first: the job is still saving."""
    reader, writer = os.pipe()
    job = fork()
    if not job:
        os.read(reader, 1)
        os._exit(0)
    owner = fork()
    if not owner:
        attempt = begin(tmp_path)
        assert attempt is not None
        attempt.add_process(job)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(owner, 0)
    assert begin(tmp_path) is None
    os.write(writer, b"x")
    os.waitpid(job, 0)
    assert begin(tmp_path) is not None


def test_attempt_on_another_machine_is_judged_by_its_last_update(tmp_path: Path) -> None:
    other = begin(tmp_path)
    assert other is not None
    change_values(other, machine="elsewhere", processes=[[1, 1]])
    assert begin(tmp_path) is None
    make_old(other)
    other._next_update_at = 0.0
    assert other.update()  # a heartbeat
    assert begin(tmp_path) is None
    make_old(other)
    assert begin(tmp_path) is not None
    other._next_update_at = 0.0
    assert not other.update(), "a process that was suspended is not told that it lost its job"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".attempt-0.json", ".attempt-1.json"]


@pytest.mark.parametrize("skew", [-3600.0, -60.0, 60.0, 3600.0])
def test_the_clock_of_this_machine_does_not_matter(
    skew: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The times of files are those of their server, here the real clock."""
    other = begin(tmp_path)
    assert other is not None
    change_values(other, machine="elsewhere")
    now = time.time
    monkeypatch.setattr(job_attempt.time, "time", lambda: now() + skew)
    assert begin(tmp_path) is None
    os.utime(other.path, (now() - 1000, now() - 1000))
    assert begin(tmp_path) is not None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"processes": 3}'])
def test_a_damaged_record_counts_as_running_until_it_is_old(text: str, tmp_path: Path) -> None:
    other = begin(tmp_path)
    assert other is not None
    other.path.write_text(text)
    assert begin(tmp_path) is None
    make_old(other)
    assert begin(tmp_path) is not None


def test_one_of_many_processes_takes_over(tmp_path: Path) -> None:
    for round_number in range(5):
        reader, writer = os.pipe()
        pids = []
        for _ in range(8):
            if not (pid := fork()):
                watcher = AttemptWatcher(tmp_path, str(os.getpid()))
                os.close(writer)
                os.read(reader, 1)  # until the parent closes its end, so that all try at once
                os._exit(int(watcher.begin() is not None))  # without an end: the attempt is abandoned
            pids.append(pid)
        time.sleep(0.05)
        os.close(reader)
        os.close(writer)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        # A winner that has ended is abandoned, and may have been followed within the round: numbers stay unique.
        latest = find_latest(tmp_path)
        assert latest is not None
        assert sum(codes) >= 1
        assert latest.number >= round_number
    numbers = sorted(int(path.stem.rpartition("-")[2]) for path in tmp_path.iterdir())
    assert numbers == list(range(len(numbers)))


def test_blocks_are_executed_one_at_a_time(tmp_path: Path) -> None:
    pids = []
    for _ in range(4):
        if not (pid := fork()):
            clashed = False
            for _ in range(5):
                with hold_exclusively(tmp_path / "lock", str(os.getpid())):
                    try:
                        os.mkdir(tmp_path / "busy")
                        time.sleep(0.005)
                        os.rmdir(tmp_path / "busy")
                    except FileExistsError:
                        clashed = True
            os._exit(int(clashed))
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 4


def test_a_long_block_is_not_executed_by_another_machine_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_attempt, "HEARTBEAT_SECONDS", 0.01)
    with hold_exclusively(tmp_path, "a"):
        attempt = find_latest(tmp_path)
        assert attempt is not None
        os.utime(attempt.path, (1000, 1000))
        wait_until(lambda: attempt.path.stat().st_mtime != 1000)
        monkeypatch.setattr(process_identity, "get_machine_id", lambda: "another boot")
        assert attempt.is_running
        monkeypatch.undo()
    os.utime(attempt.path, (1000, 1000))
    time.sleep(0.03)
    assert attempt.path.stat().st_mtime == 1000, "the heartbeat ends with the block"


def test_machines_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_identity, "get_machine_id", lambda: "another boot")
    other = begin(tmp_path)
    monkeypatch.undo()
    assert other is not None
    assert begin(tmp_path) is None
    latest = find_latest(tmp_path)
    assert latest is not None
    assert latest.host == "another"
