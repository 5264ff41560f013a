"""Time of ``members=auto`` against separate commands and against a sweep without it.

    python -m tests.bench.members mlp|gcn [JOBS]

Separate commands are timed on three jobs and a sweep without ``members`` on at most 16. Both times are multiplied, so
that the start of that sweep counts several times. Seconds of the CPU say more on a machine that other programs use.
Members draw no figures, the other runs draw their training curves.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

CASES = {
    "mlp": ["model=mlp", "data=synthetic_tabular", "data.rows=1000", "epochs=20", "draw=false"],
    "gcn": ["model=gcn", "data=karate", "draw=false"],
}
NUM_SEPARATE = 3
"""Separate commands that are timed."""
MAX_SWEEP_JOBS = 16
"""Most jobs of the sweep without ``members``."""
NUM_RATES = 4
UNITS = ("seconds", "CPU seconds")


def measure(arguments: list[str], directory: str) -> tuple[float, float]:
    """Return seconds of a command: by the clock, and of the CPU, those of its processes included."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "trainer", *arguments], cwd=directory, capture_output=True, check=True)
    after = os.times()
    seconds = time.perf_counter() - start
    return seconds, sum(after[2:4]) - sum(before[2:4])


def make_grid(overrides: list[str], jobs: int) -> list[str]:
    """Return the words of a sweep over rates and seeds."""
    rates = ",".join(f"{0.002 * 1.2**k:.5f}" for k in range(NUM_RATES))
    return ["-m", *overrides, f"optimizer.lr={rates}", f"seed=range({jobs // NUM_RATES})"]


def main() -> None:
    name, jobs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 64
    overrides, sweep_jobs = CASES[name], min(jobs, MAX_SWEEP_JOBS)
    with tempfile.TemporaryDirectory() as directory:
        together = measure([*make_grid(overrides, jobs), "members=auto", "hydra.sweep.dir=together"], directory)
        separate = [measure([*overrides, f"seed={seed}"], directory) for seed in range(NUM_SEPARATE)]
        commands = [sum(pair[index] for pair in separate) / NUM_SEPARATE * jobs for index in range(len(UNITS))]
        for unit, seconds, all_commands in zip(UNITS, together, commands, strict=True):
            print(
                f"{name}, {jobs} jobs, {unit}: members {seconds:.1f}; separate commands {all_commands:.1f}"
                f" ({all_commands / seconds:.1f}x, scaled from {NUM_SEPARATE})",
                flush=True,
            )
        sweep = measure([*make_grid(overrides, sweep_jobs), "hydra.sweep.dir=alone"], directory)
    for unit, seconds, part in zip(UNITS, together, sweep, strict=True):
        whole = part * jobs / sweep_jobs
        print(
            f"{name}, {jobs} jobs, {unit}: members {seconds:.1f}; sweep without members {whole:.1f}"
            f" ({whole / seconds:.1f}x, scaled from {sweep_jobs} jobs)"
        )


if __name__ == "__main__":
    main()
