"""Sweeps in subprocesses: killed with everything that they have started, and compared by their leaderboards."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.helpers.commands import find_runs
from trainer.runs import run_dir

TIME_COLUMNS = ("seconds",)
"""Columns of the leaderboard that differ between equal sweeps."""


def find_descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and theirs."""
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            children += map(int, path.read_text().split())
    return [*children, *(other for child in children for other in find_descendants(child))]


def kill_tree(process: subprocess.Popen[str]) -> None:
    """Kill a process and everything that it has started, at once."""
    pids: list[int] = []
    # They are stopped first, so that no parent notices the end of a child, until none has started another meanwhile.
    while new := {process.pid, *find_descendants(process.pid)}.difference(pids):
        pids += new
        send_signal(new, signal.SIGSTOP)
    send_signal(pids, signal.SIGKILL)
    process.communicate()


def send_signal(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to the processes that have not ended meanwhile."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen[Any] | None = None, seconds: float = 120
) -> None:
    """Wait for a condition, at most while a process is running."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "".join(map(str, process.communicate()))
        assert time.monotonic() < deadline, "it has taken too long"
        time.sleep(0.02)


def list_statuses(folder: Path) -> list[str]:
    """Return the status of each run below a folder."""
    return [str(run_dir.read_results(path).get("status")) for path in find_runs(folder)]


def count_finished(folder: Path) -> int:
    """Return the number of finished runs below a folder."""
    return list_statuses(folder).count("finished")


def read_leaderboard_rows(folder: Path) -> list[dict[str, str]]:
    """Read the leaderboard of the only sweep below a folder, without times."""
    (file,) = folder.glob("**/leaderboard.csv")
    with open(file, newline="") as lines:
        return [{key: row[key] for key in row if key not in TIME_COLUMNS} for row in csv.DictReader(lines)]


def list_attempts(folder: Path) -> dict[str, int]:
    """Return the number of attempts of each job below a folder."""
    files = [path for path in folder.glob("**/.jobs/*/.attempt-*.json") if not path.parent.name.startswith(".")]
    names = {path.parent.name for path in files}
    return {name: sum(path.parent.name == name for path in files) for name in sorted(names)}


def is_running(pid: int) -> bool:
    """Return whether a process has not ended; one that nobody has waited for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def read_command(pid: int) -> bytes:
    """Return the words of a process; none if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_for_ends(pids: Iterable[int], seconds: float = 60) -> None:
    """Wait until none of the processes is running; kill those that are left, and fail."""
    deadline = time.monotonic() + seconds
    while (left := [pid for pid in pids if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    send_signal(left, signal.SIGKILL)
    assert not left, "processes were left"
