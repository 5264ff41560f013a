"""Finished runs of several settings and seeds, with test rows, written without training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.finished_runs import make_config, write_run
from trainer.runs import test_rows


def write_seeds(
    root: Path, name: str, scores: Sequence[float], lr: float = 0.01, path: str = "a.csv", **changes: Any
) -> Path:
    """Write a run for each test accuracy, seeds from 0; return their directory."""
    for seed, score in enumerate(scores):
        config = make_config(seed, lr=lr, path=path)
        overrides = [f"data.path={path}", f"optimizer.lr={lr}", f"seed={seed}"]
        results: Mapping[str, Any] = {"test": {"accuracy": score}, "val": {"accuracy": score}} | changes
        write_run(root, f"{name}/{seed}", config, overrides, **results)
    return root / name


def write_rows(path: Path, correct: np.ndarray, targets: np.ndarray | None = None) -> None:
    """Write the test rows of a run directory."""
    np.savez(
        path / test_rows.FILE,
        version=np.array(test_rows.VERSION),
        rows=np.arange(len(correct)),
        targets=np.zeros(len(correct)) if targets is None else targets,
        **{"numerators/mean/accuracy": correct.astype(float), "denominators/mean/accuracy": np.ones(len(correct))},
    )


def write_scored_rows(directory: Path, rows: int = 200) -> None:
    """Write test rows that give the scores of the runs below a directory."""
    for file in sorted(directory.glob("**/results.json")):
        accuracy = json.loads(file.read_text())["test"]["accuracy"]
        seed = int(file.parent.name)
        correct = np.random.default_rng(seed).permutation(rows) < round(accuracy * rows)
        write_rows(file.parent, correct)
