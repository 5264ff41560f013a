"""Sampling from the model of a saved run: ``train sample``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from trainer.config.run_config import Config
from trainer.core.artifacts import ArrayFile, Artifact, Table
from trainer.core.prediction_columns import Column
from trainer.core.task import Sampler, Task
from trainer.engine import factory
from trainer.inference import prediction_files
from trainer.inference.inference_errors import explain_inference_errors
from trainer.inference.load_run import load_run
from trainer.utils.text import format_count
from trainer.viz import artifact_writer
from trainer.viz.console import show_warnings


def sample_run(config: Config, options: Mapping[str, Any], output: str | None = None) -> Iterator[str]:
    """Yield samples of the model of a saved run, text piece by piece.

    Other artifacts are written to the run directory, and their paths are yielded. With ``output``, all samples are
    written to that file instead, and no figures.

    Args:
        config: Configuration of the run.
        options: Options of ``sample`` of the task.
        output: File to write, whose suffix is that of a format; None for the default.

    Raises:
        ConfigError: The output cannot be written; no file is left.
    """
    file = None if output is None else Path(output).expanduser()
    if file is not None:
        prediction_files.check_output(file, Path(config.run_dir))
    has_row_options = not options.keys().isdisjoint(factory.find_class(config.tree["task"], Task).row_options)
    task, _ = load_run(config, reads_files=has_row_options)
    with show_warnings(), explain_inference_errors(config.tree):
        pieces = iter(cast(Sampler, task).sample(**options))
        first = list(islice(pieces, 1))
    if file is not None:
        yield _write_samples(list(chain(first, pieces)), file)
        return
    for piece in chain(first, pieces):
        yield (
            piece
            if isinstance(piece, str)
            else f"{artifact_writer.write_artifacts([piece], Path(config.run_dir), replace=False)[0]}\n"
        )


def _write_samples(pieces: Sequence[str | Artifact], file: Path) -> str:
    """Write texts, arrays and tables to a file, without figures; return a line about it."""
    text = "".join(piece for piece in pieces if isinstance(piece, str))
    parts = [_to_columns(piece) for piece in pieces if isinstance(piece, ArrayFile | Table)]
    parts += [{"text": [text]}] if text else []
    count = 0
    with prediction_files.open_writer(file) as writer:
        for number, columns in enumerate(parts):
            rows = len(next(iter(columns.values())))
            # Several tables, such as the links of several graphs, are told apart by a column.
            writer.write({"sample": [number] * rows, **columns} if len(parts) > 1 else columns)
            count += rows
    return f"{format_count(count, 'row')} sampled, written to {file}"


def _to_columns(samples: ArrayFile | Table) -> dict[str, Column]:
    if isinstance(samples, Table):
        return dict(zip(samples.columns, map(list, zip(*samples.rows, strict=True)), strict=True))
    values = samples.values.numpy()
    if values.ndim > 2:
        return {"sample": values}
    return {str(index): column for index, column in enumerate(values.T)}
