"""What a run directory has recorded, read without torch, whatever the state of the run."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config import migrations, yaml_limits
from trainer.runs import finished_runs, run_dir
from trainer.utils.errors import ConfigError


@dataclass(frozen=True)
class RunRecord:
    """Records of a run.

    Args:
        path: The run directory.
        results: Contents of ``results.json``.
        config: Configuration as nested mappings; empty if the file is lost.
        history: Rows of ``metrics.csv``, one per validation.
    """

    path: Path
    results: Mapping[str, Any]
    config: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]

    @property
    def monitor(self) -> str:
        """Name of the monitored metric; empty before the first batch."""
        return str(self.results.get("monitor") or "")

    @property
    def title(self) -> str:
        """Names of model and data set."""
        return f"{self.results.get('model', '?')} on {self.results.get('data', '?')}"

    @property
    def best_row(self) -> Mapping[str, float] | None:
        """Row of the validation whose weights were chosen."""
        epoch = self.results.get("best_epoch")
        return next((row for row in self.history if row.get("epoch") == epoch), None)


def read_record(path: Path) -> RunRecord:
    """Read the records of a run.

    Raises:
        ConfigError: The directory is not that of a run.
    """
    path = Path(os.path.relpath(path.resolve()))  # a link such as outputs/latest points at another run later
    results = run_dir.read_results(path)
    if not results:
        raise ConfigError(f"{path} is not a run directory: it has no readable {run_dir.RESULTS_FILE}")
    return RunRecord(path, results, _read_config(path), read_history(path / run_dir.METRICS_FILE))


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = finished_runs.load_yaml(yaml_limits.read_yaml(path / run_dir.CONFIG_FILE))
    except ConfigError:
        return {}
    return {key: value for key, value in config.items() if key != migrations.KEY} if isinstance(config, dict) else {}


def read_history(path: Path) -> list[dict[str, float]]:
    """Read the rows of ``metrics.csv``; cells that are not numbers are NaN, a file that is missing has no rows."""
    try:
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            rows = [*csv.DictReader(file)]
    except (OSError, csv.Error):
        return []
    return [{str(key): _parse(value) for key, value in row.items() if key} for row in rows]


def _parse(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return math.nan
