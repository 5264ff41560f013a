"""Time of ``members=auto`` against separate commands and against a sweep without it.

    python -m tests.bench.members mlp|gcn [JOBS]

Separate commands are timed on a few of the jobs, before and after the sweeps, and scaled. Seconds of the CPU say more
on a machine that other programs use.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

CASES = {
    "mlp": ["model=mlp", "data=synthetic_tabular", "data.rows=1000", "epochs=20", "draw=false"],
    "gcn": ["model=gcn", "data=karate", "model.dropout=0", "draw=false"],
}
NUM_SEPARATE = 2
"""Separate commands before and after the sweeps."""


def measure(arguments: list[str], directory: str) -> tuple[float, float]:
    """Return seconds of a command: by the clock, and of the CPU, those of its processes included."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "trainer", *arguments], cwd=directory, capture_output=True, check=True)
    after = os.times()
    seconds = time.perf_counter() - start
    return seconds, sum(after[2:4]) - sum(before[2:4])


def main() -> None:
    name, jobs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 64
    overrides = CASES[name]
    grid = ["-m", *overrides, f"optimizer.lr={','.join(f'{0.002 * 1.2**k:.5f}' for k in range(4))}"]
    grid.append(f"seed=range({jobs // 4})")
    with tempfile.TemporaryDirectory() as directory:
        separate = [measure([*overrides, f"seed={seed}"], directory) for seed in range(NUM_SEPARATE)]
        together = measure([*grid, "members=auto", "hydra.sweep.dir=together"], directory)
        sweep = measure([*grid, "hydra.sweep.dir=alone"], directory)
        separate += [measure([*overrides, f"seed={seed}"], directory) for seed in range(NUM_SEPARATE)]
    for index, unit in enumerate(("seconds", "CPU seconds")):
        commands = sum(pair[index] for pair in separate) / len(separate) * (jobs // 4 * 4)
        print(
            f"{name}, {jobs // 4 * 4} jobs, {unit}: members {together[index]:.1f}; sweep {sweep[index]:.1f}"
            f" ({sweep[index] / together[index]:.1f}x); separate commands {commands:.1f}"
            f" ({commands / together[index]:.1f}x, scaled from {len(separate)})"
        )


if __name__ == "__main__":
    main()
