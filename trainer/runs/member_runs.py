"""Runs of one process that are trained together, each in its own ordinary run directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.config.run_config import Config
from trainer.runs import run_dir, train


def train_members(configs: Sequence[Config], paths: Sequence[Path]) -> None:
    """Train several runs in this process, each in its own run directory, from its last checkpoint if it has one.

    Finished runs are skipped.

    Args:
        configs: Configuration of each run.
        paths: Run directory of each run, which exists.

    Raises:
        UserError: A run has failed or was interrupted.
    """
    for config, path in zip(configs, paths, strict=True):
        if run_dir.read_results(path).get("status") != "finished":
            train.execute_run(config, path)
