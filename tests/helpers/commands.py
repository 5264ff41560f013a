"""The console script in a subprocess, and user YAML folders."""

from __future__ import annotations

import atexit
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.helpers.command_server import CommandServer

_started: list[subprocess.Popen[str]] = []
SMALL = ("model=mlp", "data=moons", "data.rows=300", "epochs=2", "model.hidden=[4]", "threads=1")
"""A run of a few hundredths of a second."""
TIMEOUT = 300.0


def argv(*arguments: str) -> list[str]:
    """Return the command of the installed console script; the working folder is not on its import path."""
    return [str(Path(sys.executable).with_name("train")), *arguments]


def environment(**extra: str) -> dict[str, str]:
    unrelated = ("TRAIN_", "HYDRA_", "PYTEST_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(unrelated)}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | extra


@functools.cache
def start_server() -> CommandServer:
    server = CommandServer(environment())
    atexit.register(server.close)
    return server


def train(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command; in an interpreter of its own if its environment is not that of the other commands."""
    if env is None and start_server().env == environment():
        return start_server().run(argv(*arguments), cwd, TIMEOUT)
    return subprocess.run(
        argv(*arguments),
        cwd=cwd,
        env=environment(**(env or {})),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def start(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the command in its own process group and leave it running, at most until the end of the test."""
    process = subprocess.Popen(
        argv(*arguments),
        cwd=cwd,
        env=environment(**(env or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_restore_signals,  # noqa: PLW1509  no threads run here
    )
    _started.append(process)
    return process


def end_started() -> None:
    """Kill what ``start`` has started and close its pipes, so that a failed test does not disturb the next one."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def _restore_signals() -> None:
    """Restore the signals that a shell ignores for a background job (SIGINT) and nohup ignores (SIGHUP)."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files by relative path; return the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def find_runs(folder: Path) -> list[Path]:
    """Return the run directories below a folder, oldest name first."""
    return sorted(path.parent for path in folder.glob("**/results.json"))
