"""Sampling from the model of a saved run: ``train sample``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from trainer.config.run_config import Config
from trainer.core.task import Sampler, Task
from trainer.engine import factory
from trainer.engine.config_errors import explain_errors
from trainer.inference.load_run import load_run
from trainer.viz import artifact_writer
from trainer.viz.console import show_warnings


def sample_run(config: Config, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield samples of the model of a saved run, text piece by piece.

    Other artifacts are written to the run directory, and their paths are yielded.

    Args:
        config: Configuration of the run.
        options: Options of ``sample`` of the task.
    """
    has_row_options = not options.keys().isdisjoint(factory.find_class(config.tree["task"], Task).row_options)
    task, _ = load_run(config, reads_files=has_row_options)
    with show_warnings(), explain_errors(config.tree, "model"):
        pieces = iter(cast(Sampler, task).sample(**options))
        first = list(islice(pieces, 1))
    for piece in chain(first, pieces):
        yield (
            piece
            if isinstance(piece, str)
            else f"{artifact_writer.write_artifacts([piece], Path(config.run_dir), replace=False)[0]}\n"
        )
