"""Identity of processes across machines, to tell whether the one that wrote a file is still running."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

STATE_FIELD, START_TIME_FIELD = 0, 19
"""Fields of ``/proc/PID/stat`` after the name of the command: state and start time in clock ticks since the boot."""
ENDED_STATES = "ZX"
"""States of processes that have ended, of which the parent has not been told."""


@cache
def get_machine_id() -> str:
    """Return the host name with the boot and the namespace of process ids, within which an id means one process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:  # another system
        boot = namespace = ""
    return f"{socket.gethostname()} {boot} {namespace}".rstrip()


def read_start_time(pid: int) -> int | None:
    """Return the start time of a process, which tells it from an earlier one with its id; None if unknown.

    Args:
        pid: Process id.
    """
    fields = _read_stat_fields(pid)
    return int(fields[START_TIME_FIELD]) if fields else None


def is_running(pid: int, start_time: int | None) -> bool:
    """Return whether a process of this machine is still running.

    Args:
        pid: Process id.
        start_time: Its start time; None if it was unknown.
    """
    fields = _read_stat_fields(pid)
    if fields:
        is_same = start_time in (None, int(fields[START_TIME_FIELD]))
        return is_same and fields[STATE_FIELD] not in ENDED_STATES
    if Path("/proc/self/stat").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _read_stat_fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
