"""Predictions of the model of a saved run for the rows of a file, or for its test rows: ``train predict``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.config.run_config import Config
from trainer.core.dataset import Dataset
from trainer.core.split import Split
from trainer.engine import evaluation, factory
from trainer.engine.config_errors import explain_errors
from trainer.inference import prediction_files
from trainer.inference.load_run import load_run
from trainer.utils.paths import find_unused_path
from trainer.utils.text import format_count
from trainer.viz.console import print_line, show_warnings


def predict_run(
    config: Config,
    input_path: str | None,
    output: str | None = None,
    batch_size: int | None = None,
    read_options: Mapping[str, Any] | None = None,
    predict_options: Mapping[str, Any] | None = None,
) -> Path:
    """Predict each row of a file, or of the test split, with the best weights; write a file and return its path.

    Rows of a file are numbered from 1, as in messages; test rows are numbered from 0 and have their targets.

    Args:
        config: Configuration of the run.
        input_path: File or folder with the rows; None for the test split.
        output: File to write, whose suffix is that of a format; None for ``predictions.csv`` in the run directory.
        batch_size: Rows per batch; None for that of evaluation.
        read_options: Options of ``read_chunks`` of the data set.
        predict_options: Options of ``predict`` of the task.

    Raises:
        ConfigError: The data set cannot read the file, or the output cannot be written; no file is left.
    """
    file = (
        Path(output).expanduser() if output else find_unused_path(Path(config.run_dir, prediction_files.DEFAULT_NAME))
    )
    prediction_files.check_output(file)
    task, data = load_run(config, reads_files=input_path is None)
    first, count = (0 if input_path is None else 1), 0
    with show_warnings(), prediction_files.open_writer(file) as writer:
        for split in _read_splits(config, data, input_path, read_options or {}):
            loader = factory.make_eval_loader(data, split, "input", config.settings, task.progress.device, batch_size)
            with explain_errors(config.tree, "model"):
                predicted = evaluation.predict_rows(task, loader, config.settings, predict_options)
            if input_path is not None:
                predicted.pop("target", None)
            decoded = data.decode_prediction(predicted, split, first)
            writer.write(decoded.columns)
            first += len(split)
            count += len(next(iter(decoded.columns.values())))
    print_line(f"{format_count(count, 'row')} predicted, written to {file}")
    return file


def _read_splits(config: Config, data: Dataset, input_path: str | None, options: Mapping[str, Any]) -> Iterator[Split]:
    if input_path is None:
        yield data.test
        return
    with explain_errors(config.tree, "data"):
        yield from data.read_chunks(input_path, **options)
