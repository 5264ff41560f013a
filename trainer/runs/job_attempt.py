"""Attempts to run a job of a sweep: who runs it now, and how earlier attempts have ended.

All state is in files of a directory that several machines may share, and nothing depends on ``flock``. Attempts are
numbered. An attempt begins by creating the file of the next number, which one process alone can do, and is never
removed: so a job that is abandoned is taken over by one process, even if several find it at once.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trainer.utils import atomic_write, process_identity, signals
from trainer.utils.errors import SystemFault
from trainer.utils.exclusive_file import create_exclusive

FORMAT_VERSION = 1
HEARTBEAT_SECONDS = 10.0
"""Seconds between updates of the modification time of a running attempt."""
STALE_SECONDS = 150.0
"""Age of the last update after which an attempt on another machine is considered dead; NFS shows it up to 60 s late."""
POLL_SECONDS = 0.1
"""Seconds between attempts to enter a block that another process executes."""
INTERRUPTED_CODES = frozenset(sign for number in signals.STOP_SIGNALS for sign in (128 + number, -number))
"""Exit codes of a job that was stopped, and can be continued."""


class Attempt:
    """An attempt, as read from its file.

    Args:
        path: Its file.
        number: Its number, counted from 0.
    """

    def __init__(self, path: Path, number: int):
        self.path, self.number = path, number
        self.values = _read_values(path)

    @property
    def code(self) -> int | None:
        """Exit code of the job, negative for a signal; None if the attempt has not ended, or was killed itself."""
        code = self.values.get("code")
        return code if isinstance(code, int) else None

    @property
    def scheduler(self) -> str:
        """Name of the sweep command that started it."""
        return str(self.values.get("scheduler", ""))

    @property
    def is_requeued(self) -> bool:
        """Whether the job was saved and will be continued by its launcher."""
        return bool(self.values.get("requeued"))

    @property
    def is_running(self) -> bool:
        """Whether it is running, on this or on another machine."""
        if self.code is not None:
            return False
        if self.values.get("machine") == process_identity.get_machine_id():
            return any(process_identity.is_running(*process) for process in self.values["processes"])
        return self._measure_age() < STALE_SECONDS

    @property
    def host(self) -> str:
        """Name of the machine."""
        return str(self.values.get("machine", "?")).partition(" ")[0]

    def _measure_age(self) -> float:
        """Return the seconds since the last update."""
        with suppress(OSError), open(self.path, "rb") as file:  # opening a file makes NFS ask for its current times
            age = time.time() - os.fstat(file.fileno()).st_mtime
            if abs(age) < 3 * HEARTBEAT_SECONDS:  # by clocks that agree; without writing anything
                return age
        return self._measure_age_on_server()

    def _measure_age_on_server(self) -> float:
        """Return the seconds since the last update, by the clock of the file server, which sets both times."""
        probe = self.path.with_name(f".clock.{uuid.uuid4().hex}.tmp")
        with atomic_write.catch_write_errors(probe):
            try:
                probe.touch()
                with open(self.path, "rb") as file:
                    return probe.stat().st_mtime - os.fstat(file.fileno()).st_mtime
            finally:
                with suppress(OSError):
                    probe.unlink(missing_ok=True)


def _read_values(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) and _is_valid(values) else {}


def _is_valid(values: Mapping[str, Any]) -> bool:
    processes = values.get("processes")
    return isinstance(processes, list) and all(isinstance(item, list) and len(item) == 2 for item in processes)


def find_latest(directory: Path) -> Attempt | None:
    """Return the latest attempt of a job; None before the first one.

    Args:
        directory: Directory of the job.
    """
    numbers = [int(path.stem.rpartition("-")[2]) for path in directory.glob(".attempt-*.json")]
    return Attempt(_make_path(directory, max(numbers)), max(numbers)) if numbers else None


def _make_path(directory: Path, number: int) -> Path:
    # A hidden file is never part of the fingerprint of data above the sweep.
    return directory / f".attempt-{number}.json"


class OwnAttempt:
    """The attempt of this process, which must call ``update`` while it runs and ``finish`` at the end.

    Args:
        path: Its file, which this process has created.
        number: Its number.
        values: Values of the file.
    """

    def __init__(self, path: Path, number: int, values: dict[str, Any]):
        self.path, self.number, self._values = path, number, values
        self._next_update_at = time.monotonic() + HEARTBEAT_SECONDS

    def add_process(self, pid: int) -> None:
        """Add the process of the job: the attempt runs for as long as any of its processes."""
        self._values["processes"].append([pid, process_identity.read_start_time(pid)])
        self._write()

    def update(self) -> bool:
        """Show that the attempt is running, if an update is due; return whether it is still that of this process.

        A process that was suspended for long is considered dead, and another one has taken over its job.
        """
        if time.monotonic() < self._next_update_at:
            return True
        self._next_update_at = time.monotonic() + HEARTBEAT_SECONDS
        self.touch()
        return not _make_path(self.path.parent, self.number + 1).exists()

    def touch(self) -> None:
        """Show that the attempt is running."""
        with suppress(OSError):  # the disk may come back before the attempt is considered dead
            os.utime(self.path)

    def finish(self, code: int, *, requeued: bool = False) -> None:
        """Record the end.

        Args:
            code: Exit code of the job, negative for a signal.
            requeued: Whether its launcher will continue it.
        """
        self._values |= {"code": code, "requeued": requeued}
        self._write()

    def _write(self) -> None:
        with suppress(SystemFault):  # a full disk: without this record, the attempt counts as killed
            atomic_write.write_text(self.path, json.dumps(self._values))


class AttemptWatcher:
    """The attempts of one job as one sweep command sees them.

    How attempts ended before this command is not its business: with ``resume=auto``, what failed then is tried again.

    Args:
        directory: Directory of the job.
        scheduler: Name of the sweep command.
        last_ended: Number of the last attempt that had ended before; by default of those so far.
    """

    def __init__(self, directory: Path, scheduler: str, last_ended: int | None = None):
        self.directory, self.scheduler = directory, scheduler
        if last_ended is None:
            latest = find_latest(directory)
            last_ended = -1 if latest is None else latest.number - latest.is_running
        self.last_ended = last_ended

    def find_current(self) -> Attempt | None:
        """Return the attempt that is running or has ended since; None if there is none, or it was abandoned."""
        latest = find_latest(self.directory)
        if latest is None or latest.number <= self.last_ended:
            return None
        is_own = latest.scheduler == self.scheduler
        is_over = latest.code is None or (latest.code in INTERRUPTED_CODES and not is_own)
        if is_over and not latest.is_running:
            self.last_ended = latest.number
            return None
        return latest

    def begin(self) -> OwnAttempt | None:
        """Begin an attempt in this process; None if another process runs the job, or has run it since.

        Raises:
            SystemFault: Nothing can be written.
        """
        current = self.find_current()
        if current is not None and not current.is_requeued:
            return None
        number = (self.last_ended if current is None else current.number) + 1
        with atomic_write.catch_write_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        pid = os.getpid()
        values = {
            "format_version": FORMAT_VERSION,
            "scheduler": self.scheduler,
            "machine": process_identity.get_machine_id(),
            "processes": [[pid, process_identity.read_start_time(pid)]],
        }
        path = _make_path(self.directory, number)
        return OwnAttempt(path, number, values) if create_exclusive(path, json.dumps(values)) else None


@contextmanager
def hold_exclusively(directory: Path, scheduler: str) -> Iterator[None]:
    """Let one process at a time execute the block, on all machines that share the directory.

    Args:
        directory: Directory for the attempts to execute it.
        scheduler: Name of this command.

    Raises:
        SystemFault: Nothing can be written.
    """
    while (attempt := AttemptWatcher(directory, scheduler).begin()) is None:
        time.sleep(POLL_SECONDS)
    has_ended = threading.Event()
    heartbeat = threading.Thread(target=_touch_repeatedly, args=(attempt, has_ended), daemon=True)
    heartbeat.start()
    try:
        yield
    finally:
        has_ended.set()
        heartbeat.join()
        attempt.finish(0)


def _touch_repeatedly(attempt: OwnAttempt, has_ended: threading.Event) -> None:
    while not has_ended.wait(HEARTBEAT_SECONDS):
        attempt.touch()
