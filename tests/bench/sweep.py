"""Time of a whole sweep: ours, against separate commands and against Hydra's basic launcher.

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


def seconds(arguments: list[str], folder: str) -> float:
    started = time.perf_counter()
    subprocess.run([TRAIN, *arguments], cwd=folder, capture_output=True, check=True)
    return time.perf_counter() - started


def main() -> None:
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    seeds = ",".join(map(str, range(jobs)))
    print(f"seconds for {jobs} jobs")
    for name, words in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            few = max(1, jobs // 8)
            half = [seconds([*words, f"seed={seed}"], folder) for seed in range(few // 2)]
            ours = seconds(["-m", *words, f"seed={seeds}"], folder)
            basic = seconds(["-m", *words, f"seed={seeds}", "hydra/launcher=basic", "hydra/sweeper=basic"], folder)
            half += [seconds([*words, f"seed={seed}"], folder) for seed in range(few // 2, few)]
            separate = sum(half) / len(half) * jobs
        print(
            f"{name:5} ours {ours:6.1f}   separate commands {separate:6.1f} ({ours / separate:.2f}x)"
            f"   Hydra's basic launcher {basic:6.1f} ({ours / basic:.2f}x)"
        )


if __name__ == "__main__":
    main()
