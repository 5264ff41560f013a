"""Run a sweep over learning rates and seeds, and read its leaderboard with a data frame.

python examples/sweep_leaderboard.py

The leaderboard is a CSV file: pandas reads it, and the csv module where pandas is not installed.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

SWEEP = ["model=mlp", "data=moons", "optimizer.lr=1e-3,1e-2", "seed=0,1", "epochs=5", "draw=false"]


def read_leaderboard(path: Path) -> list[tuple[str, float, float]]:
    """Options, mean and standard deviation of the test score of each configuration, the best validation score first."""
    columns = ["overrides", "test", "std"]
    try:
        import pandas as pd
    except ImportError:
        with path.open(newline="", encoding="utf-8") as file:
            return [(row["overrides"], float(row["test"]), float(row["std"])) for row in csv.DictReader(file)]
    frame = pd.read_csv(path)
    print(frame[[*columns, "baseline", "best_possible"]].to_string(index=False))
    return list(frame[columns].itertuples(index=False, name=None))


def main(sweep_dir: Path) -> list[tuple[str, float, float]]:
    subprocess.run([sys.executable, "-m", "trainer", "-m", *SWEEP, f"hydra.sweep.dir={sweep_dir}"], check=True)
    leaderboard = read_leaderboard(sweep_dir / "leaderboard.csv")
    for overrides, test, std in leaderboard:
        print(f"{overrides:24} test accuracy {test:.4f} +- {std:.4f}")
    return leaderboard


if __name__ == "__main__":
    main(Path("outputs/sweeps/example"))
