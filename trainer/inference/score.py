"""Likelihoods or anomaly scores of rows by the model of a saved run: ``train score``."""

from __future__ import annotations

from pathlib import Path

from trainer.config.run_config import Config
from trainer.core import artifacts
from trainer.engine import evaluation, factory
from trainer.engine.config_errors import explain_errors
from trainer.inference.load_run import load_run
from trainer.metrics.registry import find_task_metric
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_count
from trainer.viz import artifact_writer, score_tables
from trainer.viz.console import console, print_line, show_warnings


def score_run(config: Config, path: str | None) -> Path:
    """Score each row of a file, or of the test split, with the best weights; write a table and return its path.

    Rows of a file are numbered from 1, as in messages; test rows are numbered from 0.

    Args:
        config: Configuration of the run.
        path: File with the rows; None for the test split.

    Raises:
        ConfigError: The data set cannot read the file, or the file has no classes and the model is conditioned on them.
    """
    task, data = load_run(config, reads_files=path is None)
    if path is not None:
        with show_warnings(), explain_errors(config.tree, "data"):
            data.test = data.read(path)
        if task.needs_targets_to_score and data.test.get_targets() is None:
            raise ConfigError(
                f"input: the model of this run is conditioned on the class of each row; {path} has no classes"
            )
    test = factory.make_eval_loader(data, data.test, "test", config.settings, task.progress.device)
    with explain_errors(config.tree, "model"):
        scores = evaluation.score_rows(task, test, config.settings)
    row_label, names = data.test.get_row_names(first=0 if path is None else 1)
    rows = list(zip(names, *(values.tolist() for values in scores.values()), strict=True))
    (file,) = artifact_writer.write_artifacts(
        [artifacts.Table("scores", (row_label, *scores), rows)], Path(config.run_dir), replace=False
    )
    for table in score_tables.build_rating_tables(row_label, names, scores, find_task_metric(task, next(iter(scores)))):
        console.print(table)
    print_line(f"{format_count(len(rows), 'row')} scored, written to {file}")
    return file
