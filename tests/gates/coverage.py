"""Measure the coverage of conformal sets and intervals on test rows.

    python -m tests.gates.coverage [NAME ...] [--seeds N]

A seed is that of the run and of the split. The coverage of one run varies with its validation and test rows: the
standard error in the table is ``sqrt(c (1 - c) (1 / val + 1 / test))``, that of the mean is smaller by the root of the
number of runs. Exits with 1 if the mean differs from the stated coverage by more than ``MAX_DIFFERENCE`` and twice its
standard error is smaller than that, or if a run differs by more than ``MAX_DIFFERENCE`` and three standard errors.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import trainer
from tests.helpers import census_tables

COVERAGE, MAX_DIFFERENCE, ROWS = 0.9, 0.015, 60_000
TRAINING = ("model=mlp", "threads=1", "draw=false", f"task.coverage={COVERAGE}")


class CoverageCase(NamedTuple):
    """A kind of run.

    Attributes:
        write: Function that writes the files of the data set into a folder and returns its keys.
        overrides: Further overrides.
        size: Metric of the size of sets or intervals.
        min_seeds: Number of seeds at least: more where there are few test rows.
    """

    write: Callable[[Path], tuple[str, ...]]
    overrides: tuple[str, ...]
    size: str = "set_size"
    min_seeds: int = 3


def write_census(folder: Path) -> tuple[str, ...]:
    table = census_tables.write_table(folder / "census.csv", 32_000)
    return "data=csv", f"data.path={table}", f"data.target={census_tables.TARGET}"


def write_blobs(folder: Path) -> tuple[str, ...]:
    """Write five overlapping classes in six dimensions."""
    draw = np.random.default_rng(0)
    label = draw.integers(5, size=ROWS)
    x = 0.8 * draw.normal(size=(5, 6))[label] + draw.normal(size=(len(label), 6))
    return _write_table(folder / "blobs.csv", x, [f"class{k}" for k in label])


def write_numbers(folder: Path) -> tuple[str, ...]:
    """Write a target that is not linear, with noise whose width depends on the row."""
    draw = np.random.default_rng(1)
    x = draw.normal(size=(ROWS, 4))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + (0.2 + 0.4 * (x[:, 3] > 0)) * draw.normal(size=len(x))
    return _write_table(folder / "numbers.csv", x, y.round(4))


def _write_table(path: Path, x: np.ndarray, y: object) -> tuple[str, ...]:
    titles = [*(f"x{column}" for column in range(x.shape[1])), "y"]
    rows = (",".join(map(str, (*row, target))) for row, target in zip(x.round(4), y, strict=True))  # type: ignore[call-overload]
    path.write_text("\n".join([",".join(titles), *rows]) + "\n")
    return "data=csv", f"data.path={path}", "data.target=y"


CASES = {
    "adult": CoverageCase(write_census, ("epochs=4", "batch_size=256")),
    "digits": CoverageCase(lambda _: ("data=digits",), ("epochs=10",), min_seeds=20),
    "blobs": CoverageCase(write_blobs, ("epochs=3", "batch_size=512")),
    "numbers": CoverageCase(
        write_numbers, ("task=regression", "epochs=5", "batch_size=512", "optimizer.lr=1e-2"), "interval_width"
    ),
}


def measure(case: CoverageCase, keys: tuple[str, ...], seed: int, folder: Path) -> tuple[float, float, float]:
    """Return the coverage of a run, the size of its sets or intervals, and the standard error of the coverage."""
    overrides = (*TRAINING, *keys, *case.overrides, f"seed={seed}", f"data.seed={seed}")
    config = trainer.compose([*overrides, f"hydra.run.dir={folder / f'run{seed}'}"])
    result = trainer.run(config, quiet=True)
    data, _ = trainer.build(config)
    counts = [len(split) for split in (data.val, data.test)]
    error = math.sqrt(COVERAGE * (1 - COVERAGE) * sum(1 / count for count in counts))
    return result.test["coverage"], result.test[case.size], error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    is_missed = False
    print("| data | mean | its standard error | runs | standard error of a run | size | |\n|" + " --- |" * 7)
    for name in options.names:
        case = CASES[name]
        with tempfile.TemporaryDirectory() as directory:
            keys = case.write(Path(directory))
            seeds = range(max(options.seeds, case.min_seeds))
            coverages, sizes, errors = zip(*(measure(case, keys, s, Path(directory)) for s in seeds), strict=True)
        mean, error = statistics.mean(coverages), statistics.mean(errors)
        mean_error = error / math.sqrt(len(coverages))
        missed = abs(mean - COVERAGE) > max(MAX_DIFFERENCE, 2 * mean_error)
        missed |= any(abs(value - COVERAGE) > MAX_DIFFERENCE + 3 * error for value in coverages)
        is_missed |= missed
        runs = " ".join(f"{value:.4f}" for value in coverages)
        cells = (name, f"{mean:.4f}", f"{mean_error:.4f}", runs, f"{error:.4f}", f"{statistics.mean(sizes):.2f}")
        print(f"| {' | '.join((*cells, 'MISSED' if missed else 'ok'))} |", flush=True)
    return int(is_missed)


if __name__ == "__main__":
    sys.exit(main())
