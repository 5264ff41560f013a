"""Likelihoods or anomaly scores of rows by the model of a saved run: ``train score``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.config.run_config import Config
from trainer.core.dataset import Dataset
from trainer.core.split import Split
from trainer.engine import dataset_loading, evaluation, factory
from trainer.engine.config_errors import explain_errors
from trainer.inference import prediction_files
from trainer.inference.inference_errors import explain_inference_errors
from trainer.inference.load_run import load_run
from trainer.metrics.registry import find_task_metric
from trainer.utils.errors import ConfigError
from trainer.utils.paths import find_unused_path
from trainer.utils.text import format_count
from trainer.viz import score_tables
from trainer.viz.console import console, print_line, show_warnings

DEFAULT_NAME = "scores.csv"


def score_run(
    config: Config,
    path: str | None,
    output: str | None = None,
    batch_size: int | None = None,
    read_options: Mapping[str, Any] | None = None,
) -> Path:
    """Score each row of a file, or of the test split, with the best weights; write a table and return its path.

    Rows of a file are numbered from 1, as in messages; test rows are numbered from 0.

    Args:
        config: Configuration of the run.
        path: File with the rows; None for the test split.
        output: File to write, whose suffix is that of a format; None for a new one in the run directory.
        batch_size: Rows per batch; None for that of evaluation.
        read_options: Options of ``read_chunks`` of the data set.

    Raises:
        ConfigError: The data set cannot read the file, or the file has no classes and the model is conditioned on
            them; no file is left.
    """
    file = Path(output).expanduser() if output else find_unused_path(Path(config.run_dir, DEFAULT_NAME))
    inputs = [*dataset_loading.list_user_paths(config), *([] if path is None else [Path(path)])]
    prediction_files.check_output(file, Path(config.run_dir), inputs)
    task, data = load_run(config, reads_files=path is None)
    row_title, count, parts = "row", 0, list[dict[str, Tensor]]()
    unusual_names: dict[int, object] = {}  # not those of all rows, so that memory hardly grows with the file
    with show_warnings(), prediction_files.open_writer(file) as writer:
        for split in _read_splits(config, data, path, read_options or {}, with_targets=task.needs_targets_to_score):
            test = factory.make_eval_loader(data, split, "test", config.settings, task.progress.device, batch_size)
            with explain_inference_errors(config.tree):
                parts.append(evaluation.score_rows(task, test, config.settings))
            row_title, names = split.get_row_names(first=count + (path is not None))
            columns = {name: values.double().numpy() for name, values in parts[-1].items()}
            writer.write({row_title: list(names), **columns})
            ranking, values = next(iter(parts[-1].items()))
            metric = find_task_metric(task, ranking)
            unusual_names |= {count + row: names[row] for row in score_tables.find_unusual_rows(values, metric)}
            count += len(names)
    scores = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    for table in score_tables.build_rating_tables(row_title, unusual_names, scores, metric):
        console.print(table)
    print_line(f"{format_count(count, 'row')} scored, written to {file}")
    return file


def _read_splits(
    config: Config, data: Dataset, path: str | None, options: Mapping[str, Any], *, with_targets: bool
) -> Iterator[Split]:
    """Yield the chunks of a file, or the test split."""
    if path is None:
        yield data.test
        return
    try:
        with explain_errors(config.tree, "data"):
            yield from data.read_chunks(path, with_targets=with_targets, **options)
    except ConfigError as error:
        if not with_targets:
            raise
        first, *others = error.problems
        reason = "the model of this run is conditioned on the class of each row"
        raise ConfigError(f"input: {reason}; {first.removeprefix('input: ')}", *others) from error
