"""Peak memory of a command."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.helpers import commands

LAUNCHER = """
import json, os, subprocess, sys
process = subprocess.Popen(json.loads(sys.argv[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(status, usage.ru_maxrss)
"""
"""A small process: the peak of a process counts the memory of the one that started it."""


def run_and_measure(words: Sequence[str]) -> tuple[float, float]:
    """Run a command that must succeed; return the seconds that it took and its peak memory in MB."""
    started = time.perf_counter()
    launcher = [sys.executable, "-c", LAUNCHER, json.dumps(list(words))]
    done = subprocess.run(launcher, env=commands.environment(), capture_output=True, text=True, check=True)
    status, peak = map(int, done.stdout.split())
    assert status == 0, f"{' '.join(words)} failed"
    return time.perf_counter() - started, peak / 1e3
