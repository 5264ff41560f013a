"""Compare class weights and a fitted threshold with scikit-learn's logistic regression, on a table with a rare class.

    python -m tests.gates.rare_class [--rows N] [--seeds N]

Exits with 1 unless average precision and F1 score of the rare class on the test rows are higher for every seed. The
logistic regression has balanced weights; its F1 scores are those of its own decision and of the threshold with the best
F1 score on the validation rows. The table is as large as the mammography data set.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import trainer
from tests.helpers.rare_class import make_rare_class_table, score_logistic_regression

OVERRIDES = (
    *("model=mlp", "data=csv", "data.target=finding", "data.split_column=part", "threads=1", "draw=false"),
    *("task.class_weights=balanced", "task.threshold=f1", "task.scores=[average_precision,f1_per_class,nll]"),
)


def compare(folder: Path, rows: int, seed: int, *overrides: str) -> dict[str, tuple[float, ...]]:
    """Return average precision and F1 score of the rare class, of the network and of the logistic regression.

    There are two F1 scores of the regression: of its own decision, and of a threshold chosen on the validation rows.

    Args:
        folder: Folder for the table and the run.
        rows: Number of rows of the table.
        seed: Seed of the table and of the run.
        overrides: Further overrides of the run.
    """
    table = folder / f"{seed}.csv"
    reference = score_logistic_regression(*make_rare_class_table(table, rows, seed))
    paths = (f"data.path={table}", f"hydra.run.dir={folder / str(seed)}")
    result = trainer.run(trainer.compose([*OVERRIDES, *paths, f"seed={seed}", *overrides]), quiet=True)
    return {
        "average_precision": (result.test["average_precision"], reference["average_precision"]),
        "f1": (result.test["f1_yes"], reference["f1"], reference["f1_chosen"]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=11_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    is_missed = False
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for name, (score, *references) in compare(Path(folder), options.rows, seed, "epochs=30").items():
                is_missed |= score <= max(references)
                others = ", with a chosen threshold ".join(f"{reference:.3f}" for reference in references)
                print(f"seed {seed}: {name} {score:.3f}, logistic regression {others}", flush=True)
    return int(is_missed)


if __name__ == "__main__":
    sys.exit(main())
