"""Training of several runs, the members of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.config.run_config import Config
from trainer.runs.train import train_nested_run


def train_members(configs: Sequence[Config], paths: Sequence[Path]) -> None:
    """Train runs in their directories; a stopped one continues, and a finished one is not trained again.

    Args:
        configs: Configuration of each run.
        paths: Run directory of each run, which exists.
    """
    for config, path in zip(configs, paths, strict=True):
        train_nested_run(config, path)
