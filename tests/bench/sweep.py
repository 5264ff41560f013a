"""Time of a sweep against separate commands and against Hydra's basic launcher.

    python -m tests.bench.sweep [JOBS]

Separate commands are timed on an eighth of the jobs, in between, and scaled.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = str(Path(sys.executable).parent / "train")
CASES = {
    "MLP": ["model=mlp", "data=synthetic_tabular", "data.rows=1000", "epochs=5"],
    "LSTM": ["model=lstm", "data=synthetic_seq", "data.rows=1000", "epochs=5"],
}


def measure_seconds(arguments: list[str], directory: str) -> float:
    start = time.perf_counter()
    subprocess.run([TRAIN, *arguments], cwd=directory, capture_output=True, check=True)
    return time.perf_counter() - start


def main() -> None:
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    seeds = ",".join(map(str, range(jobs)))
    print(f"seconds for {jobs} jobs")
    for name, overrides in CASES.items():
        with tempfile.TemporaryDirectory() as directory:
            num_separate = max(1, jobs // 8)
            separate_times = [
                measure_seconds([*overrides, f"seed={seed}"], directory) for seed in range(num_separate // 2)
            ]
            sweep = measure_seconds(["-m", *overrides, f"seed={seeds}"], directory)
            launcher = measure_seconds(
                ["-m", *overrides, f"seed={seeds}", "hydra/launcher=basic", "hydra/sweeper=basic"], directory
            )
            separate_times += [
                measure_seconds([*overrides, f"seed={seed}"], directory)
                for seed in range(num_separate // 2, num_separate)
            ]
            separate = sum(separate_times) / len(separate_times) * jobs
        print(
            f"{name:5} sweep {sweep:6.1f}   separate commands {separate:6.1f} ({sweep / separate:.2f}x)"
            f"   Hydra's basic launcher {launcher:6.1f} ({sweep / launcher:.2f}x)"
        )


if __name__ == "__main__":
    main()
