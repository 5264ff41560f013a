"""Runs on several processes from the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.helpers import commands, sweeps
from trainer.engine import checkpoint


def torchrun(*words: str, cwd: Path, size: int = 2) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("torchrun"))
    options = ("--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={size}", "-m", "trainer")
    env = commands.environment(GLOO_SOCKET_IFNAME="lo")
    return subprocess.run(
        [program, *options, *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False
    )


def wait_for_checkpoint(process: subprocess.Popen[str], cwd: Path) -> None:
    sweeps.wait_until((cwd / "run" / checkpoint.LAST).exists, process)


def wait_for_steps(process: subprocess.Popen[str], cwd: Path, step: int) -> None:
    """Wait until a run has saved a step after ``step``."""
    sweeps.wait_until(lambda: checkpoint.load_newest(cwd / "run")["position"]["step"] > step, process)


def list_workers(process: subprocess.Popen[str]) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
