"""GPUs of a job: taken by the process that runs it, so that no GPU has more jobs of a sweep than it should.

A place on a GPU is a locked file in the directory of the machine for temporary files, which is local: the kernel
releases the lock when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from trainer.config.schema import Settings
from trainer.runs.launchers.capacity import count_job_devices, list_job_devices
from trainer.utils import gpus
from trainer.utils.errors import SystemFault
from trainer.viz.console import print_line

WAIT_SECONDS = 0.05
"""Mean seconds between attempts to take a GPU that another job uses."""


@contextmanager
def occupy_devices(settings: Settings, root: Path) -> Iterator[None]:
    """Give this process, which runs one job, GPUs by ``CUDA_VISIBLE_DEVICES``; wait while none is free.

    CUDA reads the variable when it is initialized, which must not have happened. With ``device=cuda:1`` the job has
    chosen its GPU: its place is taken, but the variable stays, in which that index counts.

    Args:
        settings: Global keys of the job.
        root: Directory of the sweep, within which GPUs are shared out.

    Raises:
        SystemFault: The directory for temporary files does not let this user lock files.
    """
    devices = gpus.list_cuda_devices()
    choices = list_job_devices(settings, devices)
    if not choices:
        yield
        return
    places = [_make_place(root, name, number) for number in range(settings.jobs_per_device) for name in choices]
    with ExitStack() as locks:
        names = _wait_for_places(places, count_job_devices(settings, choices), locks)
        if ":" not in settings.device:
            os.environ[gpus.VISIBLE_DEVICES] = ",".join(sorted(names, key=devices.index))
        yield


def _make_place(root: Path, name: str, number: int) -> tuple[str, Path]:
    """Return a GPU with the file of one of its places."""
    key = hashlib.sha256(f"{root.absolute()} {name} {number}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return name, Path(tempfile.gettempdir(), f"train-{os.getuid()}-gpu-{key}.lock")


def _wait_for_places(places: Sequence[tuple[str, Path]], count: int, locks: ExitStack) -> list[str]:
    """Lock places on several GPUs, all or none, and return the names of the GPUs.

    Raises:
        SystemFault: The directory for temporary files does not let this user lock files.
    """
    is_announced = False
    while True:
        held: dict[str, IO[bytes]] = {}
        for name, path in places:
            if len(held) < count and name not in held and (file := _try_lock(path)):
                held[name] = file
        if len(held) == count:
            for file in held.values():
                locks.enter_context(file)
                # A child's copy of the descriptor would hold the lock for as long as the child lives.
                os.register_at_fork(after_in_child=file.close)
            return list(held)
        for file in held.values():
            file.close()
        if not is_announced:
            print_line("waiting for a GPU that no other job of the sweep uses")
            is_announced = True
        time.sleep(random.uniform(0, 2 * WAIT_SECONDS))  # two jobs that each hold what the other needs


def _try_lock(path: Path) -> IO[bytes] | None:
    """Lock a file; None if another process holds it."""
    try:
        file = open(path, "ab")  # noqa: SIM115
    except OSError as error:
        raise _make_fault(path, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        file.close()
        raise _make_fault(path, error) from error
    return file


def _make_fault(path: Path, error: OSError) -> SystemFault:
    return SystemFault(
        f"{path}: this file, by which jobs share GPUs, cannot be locked ({error.strerror}); set TMPDIR to a local"
        " directory of yours"
    )
