"""Predict the test rows of runs on own files, score them outside, and predict them again in every other way.

    python -m tests.gates.predictions [CASE ...]

For each case of ``tests/helpers/prediction_cases.py`` a small run is trained on files in a temporary folder. Its test
rows are written to a file, which is predicted: the scores by scikit-learn and NumPy must be those of ``results.json``.
Then the rows are predicted in batches of 1, 7 and 64, in another order, and by another process after the run directory
was moved and the training files were deleted: numbers may differ by ``MAX_CHANGE``, everything else must be the same.

Prints a table. Metrics that count must be equal up to ``COUNT_TOLERANCE`` (their divisions are in another order), and
metrics of float32 terms up to ``SUM_TOLERANCE``. Exits with 1 if a case misses.
"""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image

import trainer
from tests.helpers import commands
from tests.helpers.item_files import TestItems
from tests.helpers.outside_scores import score_nothing
from tests.helpers.prediction_cases import CASES, PredictionCase
from trainer.cli import main as cli

BATCHES = (1, 7, 64)
CHANGES = (*(f"batch {size}" for size in BATCHES), "shuffled", "moved")
MAX_CHANGE, COUNT_TOLERANCE, SUM_TOLERANCE = 1e-6, 1e-12, 1e-6
SUMS = (
    "nll",
    "perplexity",
    "mse",
    "rmse",
    "mae",
    "r2",
    "interval_width",
    "log_likelihood",
    "elbo",
    "kl",
    "reconstruction",
)
"""Metrics whose terms the run computes in float32."""
TRAINING = ("epochs=3", "patience=null", "batch_size=32", "optimizer.lr=3e-3", "threads=1", "draw=false")
IDENTIFIERS = ("row", "line", "file", "graph", "id", "mask")
"""Columns that depend on the order of the rows, or on the name of a file."""


class Outcome(NamedTuple):
    """What is known of one case.

    Attributes:
        num_rows: Number of test rows.
        score: First metric that was compared, with its value.
        counts: Names and largest relative difference of the metrics that count.
        sums: Names and largest relative difference of the metrics of float32 terms.
        changes: Largest difference of a prediction by what was changed.
    """

    num_rows: int
    score: str
    counts: dict[str, float]
    sums: dict[str, float]
    changes: dict[str, float]


def read_output(path: Path) -> pd.DataFrame:
    """Read a table of predictions to the last digit, with the pixels of masks."""
    table = path / "predictions.csv" if path.is_dir() else path
    frame = pd.read_csv(table, dtype=str, keep_default_na=False).apply(_parse_numbers)
    if path.is_dir():
        frame["pixels"] = [np.asarray(Image.open(path / name)) for name in frame["mask"]]
    return frame


def _parse_numbers(column: pd.Series) -> pd.Series:
    try:
        return column.map(float) if column.name.startswith("p_") or "." in "".join(column) else column.map(int)
    except ValueError:
        return column


def find_difference(rows: pd.DataFrame, others: pd.DataFrame) -> float:
    """Return the largest difference of predictions, relative where they exceed 1; infinity if texts differ."""
    if len(rows) != len(others) or set(rows) != set(others):
        return math.inf
    largest = 0.0
    for title in set(rows) - set(IDENTIFIERS):
        values, twins = rows[title], others[title]
        if values.dtype.kind == "f" or twins.dtype.kind == "f":
            one, other = values.to_numpy(float), twins.to_numpy(float)
            difference = float((np.abs(one - other) / np.maximum(1, np.abs(one))).max())
            largest = math.inf if math.isnan(difference) else max(largest, difference)
        elif any(not np.array_equal(one, other) for one, other in zip(values, twins, strict=True)):
            return math.inf
    return largest


class CaseRun:
    """A trained run with its test items.

    Args:
        case: The case.
        folder: Empty folder.
    """

    def __init__(self, case: PredictionCase, folder: Path):
        self.case, self.folder, self.num_outputs = case, folder, 0
        self.items: TestItems = case.make(folder / "files")
        overrides = [*TRAINING, *case.overrides, *self.items.overrides]
        with chdir(folder):
            result = trainer.run(trainer.compose([*overrides, f"hydra.run.dir={folder / 'run'}"]), quiet=True)
        self.run, self.scores = folder / "run", result.test

    def predict(self, order: Sequence[int] | None, *options: str, in_process: bool = True) -> pd.DataFrame:
        """Predict items that are written in an order, or the test rows that the run itself has.

        Args:
            order: Indices of the items; None for the test rows of the run.
            options: Options of the command.
            in_process: Whether to call the command here; otherwise it is a process of its own, in another folder.

        Returns:
            Predictions in the order of the indices of the items.
        """
        self.num_outputs += 1
        output = self.folder / f"output-{self.num_outputs}{'' if self.case.writes_masks else '.csv'}"
        words = [self.case.command, str(self.run), f"output={output}", *options]
        if order is not None:
            words += [f"input={self.items.write(self.folder / f'input-{self.num_outputs}', order)}", *self.case.options]
        if in_process:
            assert cli.run_command(words) == 0
        else:
            subprocess.run(commands.argv(*words), check=True, capture_output=True, cwd=self.folder.parent)
        frame = read_output(output)
        if order is None or not self.items.has_row_per_item:
            return frame
        assert len(frame) == len(order), f"{len(frame)} rows for {len(order)} items"
        return frame.iloc[np.argsort(order)].reset_index(drop=True)

    def find_test_items(self) -> list[int]:
        """Return the indices of the items that are test rows; the training files must exist."""
        if self.items.find is not None:
            return sorted(self.items.find(self.predict(None)))
        return [k for k, target in enumerate(self.items.truth) if target is not None]


def run_case(case: PredictionCase, folder: Path) -> Outcome:
    """Train a run, predict its test items in every way, and compare.

    Args:
        case: The case.
        folder: Empty folder.
    """
    run = CaseRun(case, folder)
    test = run.find_test_items()
    # The nodes of a graph are predicted together with those of training, which are their neighbors.
    written = list(range(len(run.items.truth))) if run.items.find is None else test
    rows = run.predict(written)
    chosen = rows.iloc[np.searchsorted(written, test)] if run.items.has_row_per_item else rows
    scores = case.score(chosen, [run.items.truth[k] for k in test])
    counts, sums = compare_scores(scores, run.scores)
    score = next((f"{name} {scores[name]:.4f}" for name in counts | sums), "-")
    changes = {f"batch {size}": find_difference(rows, run.predict(written, f"batch_size={size}")) for size in BATCHES}
    shuffled = [written[k] for k in np.random.default_rng(0).permutation(len(written))]
    changes["shuffled"] = find_difference(rows, run.predict(shuffled))
    shutil.rmtree(folder / "files")
    (folder / "elsewhere").mkdir()
    run.run = run.run.rename(folder / "elsewhere" / "moved")
    changes["moved"] = find_difference(rows, run.predict(written, in_process=False))
    return Outcome(len(chosen), score, counts, sums, changes)


def compare_scores(scores: dict[str, float], reported: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the relative differences of the metrics that count, and of those of float32 terms, by name."""
    both = {name: (score, reported[name]) for name, score in scores.items() if name in reported}
    differences = {name: abs(one - other) / max(1e-300, abs(other), abs(one)) for name, (one, other) in both.items()}
    sums = {name: value for name, value in differences.items() if name in SUMS}
    return {name: value for name, value in differences.items() if name not in SUMS}, sums


def has_passed(outcome: Outcome, case: PredictionCase) -> bool:
    """Return whether a case is within all tolerances, and has a score unless its run reports none."""
    return (
        all(value <= COUNT_TOLERANCE for value in outcome.counts.values())
        and all(value <= SUM_TOLERANCE for value in outcome.sums.values())
        and all(value <= MAX_CHANGE for value in outcome.changes.values())
        and (bool(outcome.counts or outcome.sums) or case.score is score_nothing)
    )


def describe_differences(differences: dict[str, float]) -> str:
    if not differences:
        return "-"
    largest = max(differences.values())
    return f"{', '.join(differences)}: {'equal' if largest == 0 else f'{largest:.0e}'}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", default=list(CASES), help=f"of {', '.join(CASES)}")
    names = parser.parse_args().cases
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"unknown cases: {', '.join(unknown)}")
    torch.set_num_threads(1)
    titles = ("case", "family", "rows", "score", "metrics that count", "metrics of float32 terms", *CHANGES, "")
    print(f"| {' | '.join(titles)} |\n|{' --- |' * len(titles)}", flush=True)
    failed = []
    for name in names:
        case = CASES[name]
        with tempfile.TemporaryDirectory() as directory, redirect_stderr(StringIO()), redirect_stdout(StringIO()):
            outcome = run_case(case, Path(directory))
        if not has_passed(outcome, case):
            failed.append(name)
        changes = [f"{outcome.changes[change]:.0e}" if outcome.changes[change] else "0" for change in CHANGES]
        metrics = map(describe_differences, (outcome.counts, outcome.sums))
        verdict = "MISSED" if name in failed else "ok"
        print(
            f"| {' | '.join((name, case.family, str(outcome.num_rows), outcome.score, *metrics, *changes, verdict))} |",
            flush=True,
        )
    print(f"{len(names) - len(failed)} of {len(names)} cases passed", *failed)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
