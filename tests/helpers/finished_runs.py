"""Run directories of finished runs, written without training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tests.helpers.commands import write
from trainer.runs.finished_runs import read_runs
from trainer.runs.leaderboard_entries import Entry, build_tables


def write_run(root: Path, name: str, config: dict[str, Any], overrides: list[str], **changes: Any) -> None:
    """Write a run directory monitored by ``accuracy``; changes replace its results."""
    results = {
        "status": "finished",
        "model": "mlp",
        "data": "csv",
        "monitor": "accuracy",
        "params": 5,
        "seconds": 1.0,
        "val": {"accuracy": 0.8},
        "test": {"accuracy": 0.7, "f1": 0.6},
        "baseline": {"accuracy": 0.5},
        "best_possible": {},
        "seed": config.get("seed", 0),
        "overrides": overrides,
    }
    write(root, {f"{name}/results.json": json.dumps(results | changes)})
    write(root, {f"{name}/config.yaml": OmegaConf.to_yaml(OmegaConf.create(config))})
    stamp = 1_700_000_000 + len(list(root.glob("**/results.json")))
    os.utime(root / name / "results.json", (stamp, stamp))


def make_config(seed: int = 0, lr: float = 0.01, path: str = "a.csv", **data: Any) -> dict[str, Any]:
    return {
        "seed": seed,
        "jobs": None,
        "optimizer": {"_target_": "trainer.optim.optimizers.Adam", "lr": lr},
        "data": {
            "_target_": "trainer.data.datasets.tabular.csv_table.CSV",
            "path": path,
            "target": "y",
            "drop_columns": [],
        }
        | data,
    }


def read_leaderboard(root: Path) -> list[Entry]:
    """Build the leaderboard of the finished runs below a directory."""
    return [entry for table in build_tables(read_runs(root)) for entry in table.entries]
