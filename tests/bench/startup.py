"""Time of whole commands, in one interleaved run, against a bare Hydra application and a bare import of torch."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 7
BARE_HYDRA = """
import hydra
@hydra.main(version_base="1.3", config_path=None)
def app(config): ...
app()
"""
TRAIN = [str(Path(sys.executable).parent / "train")]
SMALL = [*TRAIN, "model=mlp", "data=synthetic_tabular", "max_steps=20"]


def measure_seconds(command: list[str], directory: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=directory, capture_output=True, check=False)
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        bare = Path(directory) / "bare.py"
        bare.write_text(BARE_HYDRA, encoding="utf-8")
        commands = {
            "bare Hydra --help": [sys.executable, str(bare), "--help"],
            "import torch": [sys.executable, "-c", "import torch"],
            "train --help": [*TRAIN, "--help"],
            "train list": [*TRAIN, "list"],
            "train show model=lstm": [*TRAIN, "show", "model=lstm"],
            "a misspelt key": [*TRAIN, "optimizer.lrr=1"],
            "a minimal run": SMALL,
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for round_index in range(ROUNDS + 1):
            for name, command in commands.items():
                elapsed = measure_seconds(command, directory)
                if round_index:
                    times[name].append(elapsed)
    references = dict.fromkeys(commands, "bare Hydra --help") | {"a minimal run": "import torch"}
    targets = {"train --help": 0.3, "train list": 0.3, "train show model=lstm": 1.5, "a misspelt key": 1.5}
    targets["a minimal run"] = 1.6
    print(f"ms, median of {ROUNDS} interleaved rounds")
    for name, values in times.items():
        ratio = statistics.median(a / b for a, b in zip(values, times[references[name]], strict=True))
        goal = f"(at most {targets[name]}x)" if name in targets else ""
        print(f"{name:24} {statistics.median(values) * 1e3:7.0f}   {ratio:5.2f}x of {references[name]} {goal}")


if __name__ == "__main__":
    main()
