"""Predictions of the model of a saved run for the rows of a file, or for its test rows: ``train predict``."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from trainer.config.run_config import Config
from trainer.core.dataset import Dataset
from trainer.core.prediction import DecodedPrediction
from trainer.core.split import Split
from trainer.core.task import Task
from trainer.engine import dataset_loading, evaluation, factory
from trainer.engine.config_errors import explain_errors
from trainer.inference import best_rows, prediction_output
from trainer.inference.inference_errors import explain_inference_errors
from trainer.inference.load_run import load_run
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_count
from trainer.viz import preview_table
from trainer.viz.console import console, print_line, show_warnings


def predict_run(
    config: Config,
    input_path: str | None,
    output: str | None = None,
    batch_size: int | None = None,
    read_options: Mapping[str, Any] | None = None,
    predict_options: Mapping[str, Any] | None = None,
) -> Path:
    """Predict each row of a file, or of the test split, with the best weights; write a file and return its path.

    Predictions that are images, such as segmentation masks, are written to a directory, with a table of them. Rows of a
    file are numbered from 1, as in messages; test rows are numbered from 0 and have their targets.

    Args:
        config: Configuration of the run.
        input_path: File or folder with the rows; None for the test split.
        output: File or directory to write, see ``prediction_output``; None for one in the run directory.
        batch_size: Rows per batch; None for that of evaluation.
        read_options: Options of ``read_chunks`` of the data set.
        predict_options: Options of ``predict`` of the task.

    Raises:
        ConfigError: The data set cannot read the file, or the output cannot be written; no file is left.
    """
    inputs = [*dataset_loading.list_user_paths(config), *([] if input_path is None else [Path(input_path)])]
    prediction_output.check_file(output, Path(config.run_dir), inputs)
    task, data = load_run(config, reads_files=input_path is None and not read_options)
    count = 0
    with (
        show_warnings(),
        closing(
            _predict_chunks(config, task, data, input_path, batch_size, read_options or {}, predict_options or {})
        ) as chunks,
    ):
        first_chunk = next(chunks, None)
        if first_chunk is None:
            raise ConfigError(f"input: {input_path} has no rows")
        has_images = bool(first_chunk.images)
        path = prediction_output.choose_path(output, Path(config.run_dir), has_images=has_images)
        with prediction_output.open_writer(path, has_images=has_images) as writer:
            for decoded in chain((first_chunk,), chunks):
                writer.write(decoded)
                count += len(next(iter(decoded.columns.values())))
    console.print(preview_table.build_preview_table(first_chunk.columns, console.width))
    print_line(f"{format_count(count, 'row')} predicted, written to {path}")
    return path


def _predict_chunks(
    config: Config,
    task: Task,
    data: Dataset,
    input_path: str | None,
    batch_size: int | None,
    read_options: Mapping[str, Any],
    predict_options: Mapping[str, Any],
) -> Generator[DecodedPrediction, None, None]:
    """Yield the decoded predictions of each chunk of a file, of candidates, or of the test split."""
    settings, first = config.settings, 0
    uses_test_rows = input_path is None and not read_options
    if not uses_test_rows:
        # The rows are in memory, so that workers would only cost the time to start them for each chunk.
        settings, first = replace(settings, num_workers=0), 1

    def predict_split(split: Split) -> best_rows.Predicted:
        loader = factory.make_eval_loader(
            data, split, "input", settings, task.progress.device, batch_size, sort_by_length=True
        )
        with explain_inference_errors(config.tree):
            predicted = evaluation.predict_rows(task, loader, settings, predict_options)
        if not uses_test_rows:
            predicted.pop("target", None)
        return predicted, split

    with closing(_read_splits(config, data, input_path, read_options)) as splits:
        for predicted, split in best_rows.select_best(map(predict_split, splits)):
            with explain_errors(config.tree, "data"):
                yield data.decode_prediction(predicted, split, first)
            first += len(split)


def _read_splits(
    config: Config, data: Dataset, input_path: str | None, options: Mapping[str, Any]
) -> Generator[Split, None, None]:
    if input_path is None and not options:
        yield data.test
        return
    arguments = dict(options) if input_path is None else {"path": input_path, **options}
    with explain_errors(config.tree, "data"):
        yield from data.read_chunks(**arguments)
