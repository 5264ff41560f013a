"""Several processes that train together, forked from the test."""

from __future__ import annotations

import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.helpers.states import fork
from trainer.engine.process_group import ProcessGroup, SingleProcess
from trainer.engine.torch_process_group import TorchProcessGroup

TIMEOUT = 60.0
DEADLINE = 240.0


def run_processes(size: int, function: Callable[[ProcessGroup], Any]) -> list[Any]:
    """Return what a function returns in each of several connected processes, in the order of their ranks.

    The function must compute with one thread: those of OpenMP do not survive a fork, and a child would wait for them.
    """
    with tempfile.TemporaryDirectory() as folder:
        children = [_fork_process(Path(folder), rank, size, function) for rank in range(size)]
        deadline = time.monotonic() + DEADLINE
        codes = [_wait_for(pid, deadline) for pid in children]
        results = [torch.load(path, weights_only=False) for path in sorted(Path(folder).glob("result-*"))]
        failures = [path.read_text() for path in sorted(Path(folder).glob("failure-*"))]
    assert codes == [0] * size, "\n".join(failures)
    return results


def _wait_for(pid: int, deadline: float) -> int:
    """Return the exit code of a child, which is killed at the deadline."""
    while not (found := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(found[1])


def _fork_process(folder: Path, rank: int, size: int, function: Callable[[ProcessGroup], Any]) -> int:
    pid = fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        torch.set_num_threads(1)
        store = dist.FileStore(str(folder / "store"), size)
        group = TorchProcessGroup(rank, size, rank, size, store, TIMEOUT) if size > 1 else SingleProcess()
        torch.save(function(group), folder / f"result-{rank}")
        group.close()
        code = 0
    except BaseException:
        (folder / f"failure-{rank}").write_text(traceback.format_exc())
    finally:
        os._exit(code)
