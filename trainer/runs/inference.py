"""Inference with saved runs: evaluation, sampling, scoring of rows, feature maps; and previews of data before any
run."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import torch

from trainer.config.compose import Config
from trainer.core import artifacts, rng
from trainer.core.batch import Batch
from trainer.core.dataset import Dataset
from trainer.core.task import Sampler, Task
from trainer.engine import checkpoint, dataset_loading, device, evaluation, factory
from trainer.engine.config_errors import explain_errors
from trainer.engine.dataset_state import SplitExcerpt
from trainer.metrics.registry import find_task_metric
from trainer.runs import consistency, feature_extractor, run_dir
from trainer.runs import train as runner
from trainer.runs.results import Result
from trainer.runs.run_setup import with_saved_fingerprint
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_count
from trainer.viz import artifact_writer, feature_maps, model_summary, score_tables
from trainer.viz.console import console, print_line, show_warnings

log = logging.getLogger(__name__)

SCORE_TOLERANCE, OTHER_DEVICE_TOLERANCE = 1e-2, 5e-2
"""By how much of itself a score may differ when it is measured again: on its kind of device, and on another."""


def load_run(kept: Config, *, reads_files: bool = True, to_score: bool = False) -> tuple[Task, Dataset]:
    """Load the task of a saved run with its best weights, in evaluation mode, and its data as encoded in training.

    Args:
        kept: the configuration, from ``saved_run.load``.
        reads_files: read the data from its files rather than from the run alone.
        to_score: attach the classifier that generated rows are compared by, if the run has one.

    Raises:
        ConfigError: if the files of the run directory are not of one run, or the data has changed.
    """
    file = Path(kept.run_dir) / checkpoint.BEST
    best = consistency.load_best(Path(kept.run_dir))
    torch.set_num_threads(kept.settings.threads or best["about"]["threads"])
    device.keep_freed_memory()
    with show_warnings():
        data = (dataset_loading.reload_dataset if reads_files else dataset_loading.restore_dataset)(kept, best["data"])
    if to_score:
        feature_extractor.attach_feature_extractor(with_saved_fingerprint(kept, best), data, runner.train_nested_run)
    with show_warnings():
        where = device.select_available_device(kept.settings.device)
    with explain_errors(kept.tree, "model"):
        task = factory.make_task(kept.tree, data, kept.names).to(where)
    consistency.load_weights(task, best, file)
    return task.eval(), data


def evaluate_run(kept: Config) -> dict[str, float]:
    """Evaluate the best weights of a saved run on its test rows, and print the scores."""
    task, data = load_run(kept, to_score=True)
    test = factory.make_loaders(kept.tree, data, kept.settings, task.progress.device)["test"]
    with explain_errors(kept.tree, "model"):
        scores = evaluation.evaluate_split(task, test, kept.settings)
    stored = Result.read(Path(kept.run_dir))
    result = replace(stored, test=scores)
    if not kept.settings.allow_changed_data:
        with show_warnings():
            _warn_about_changed_scores(stored, scores, task.progress.device)
    else:  # the test rows may be others
        with rng.fork_rng(kept.settings.seed, task.progress.device):
            baseline, best = task.reference_scores()
        result.baseline = baseline | dict(data.info.baseline)
        result.best_possible = best | dict(data.info.best_possible)
    console.print(score_tables.build_score_table(result))
    return scores


def _warn_about_changed_scores(stored: Result, scores: Mapping[str, float], where: torch.device) -> None:
    """Warn if the stored test scores are not those of the weights next to them."""
    is_alike = stored.device.split(":")[0] == where.type
    room = SCORE_TOLERANCE if is_alike else OTHER_DEVICE_TOLERANCE
    other = [
        f"test.{key} is {score_tables.format_number(value)}, not {score_tables.format_number(scores[key])}"
        for key, value in stored.test.items()
        if key in scores and not _is_close(value, scores[key], room)
    ]
    if other:
        there = "" if is_alike else f"; it was measured on {stored.device}, and this is {where}"
        what = f"{', '.join(other)}, which is what these weights score: one of the two was changed{there}"
        log.warning("%s: %s", stored.results_path, what)


def _is_close(one: float, other: float, room: float) -> bool:
    return math.isclose(one, other, rel_tol=room, abs_tol=room / 100) or (math.isnan(one) and math.isnan(other))


def sample(kept: Config, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield samples of the best weights of a saved run piece by piece.

    Artifacts that are no text are written to the run directory, and their path is yielded.

    Args:
        options: Options of the task's ``sample``.
    """
    names_rows = not options.keys().isdisjoint(factory.find_class(kept.tree["task"], Task).row_options)
    task, _ = load_run(kept, reads_files=names_rows)
    with show_warnings(), explain_errors(kept.tree, "model"):
        pieces = iter(cast(Sampler, task).sample(**options))
        first = list(islice(pieces, 1))
    for piece in chain(first, pieces):
        yield (
            piece
            if isinstance(piece, str)
            else f"{artifact_writer.write_artifacts([piece], Path(kept.run_dir), replace=False)[0]}\n"
        )


def score(kept: Config, path: str | None) -> Path:
    """Score each row of a file, or of the test split, with the best weights; write a table and return its path.

    Rows of a file are numbered from 1, as in messages, and test rows from 0.

    Raises:
        ConfigError: The data set cannot read the file, or it lacks the classes that the model is conditioned on.
    """
    task, data = load_run(kept, reads_files=path is None)
    if path is not None:
        with show_warnings(), explain_errors(kept.tree, "data"):
            data.test = data.read(path)
        if getattr(task.model, "num_classes", None) is not None and data.test.get_targets() is None:
            raise ConfigError(
                f"input: the model of this run is conditioned on the class of each row; {path} has no classes"
            )
    test = factory.make_loaders(kept.tree, data, kept.settings, task.progress.device)["test"]
    with explain_errors(kept.tree, "model"):
        ratings = evaluation.score_rows(task, test, kept.settings)
    called, names = data.test.get_row_names(first=0 if path is None else 1)
    rows = list(zip(names, *(values.tolist() for values in ratings.values()), strict=True))
    (written,) = artifact_writer.write_artifacts(
        [artifacts.Table("scores", (called, *ratings), rows)], Path(kept.run_dir), replace=False
    )
    for table in score_tables.build_rating_tables(called, names, ratings, find_task_metric(task, next(iter(ratings)))):
        console.print(table)
    print_line(f"{format_count(len(rows), 'row')} rated in {written}")
    return written


def summarize_layers(kept: Config) -> list[tuple[str, ...]]:
    """Return name, class, output shape and number of parameters of each layer of a saved run's model."""
    task, data = load_run(kept, reads_files=False)
    batch = data.test.batch(torch.zeros(1, dtype=torch.long), 0).to(task.progress.device)
    found = model_summary.summarize_layers(task, batch)
    return [(at.name, at.class_name, str(tuple(at.output.shape[1:])), f"{at.num_params:,}") for at in found]


def draw_feature_maps(kept: Config, layer: str, row: int) -> Path:
    """Draw the output of a layer for a test row into the run directory; return the path of the image.

    Raises:
        ConfigError: The layer or the row does not exist.
    """
    task, data, batch = _load_test_row(kept, row)
    sheet = feature_maps.make_feature_maps(task, batch, layer, data.image_inputs(), data.pixel_bounds())
    (path,) = artifact_writer.write_artifacts([sheet], Path(kept.run_dir), replace=False)
    return path


def _load_test_row(kept: Config, row: int) -> tuple[Task, Dataset, Batch]:
    """Load the task of a saved run, its data, and a batch of one test row.

    The first rows are stored with a run and need no files.
    """
    task, data = load_run(kept, reads_files=False)
    if isinstance(data.test, SplitExcerpt) and not data.test.has_row(row):
        task, data = load_run(kept)
    test = factory.make_loaders(kept.tree, data, kept.settings, task.progress.device)["test"]
    if row >= len(test.split):
        raise ConfigError(f"row: {row} given; the test split has rows 0 to {len(test.split) - 1}")
    with explain_errors(kept.tree, "data"):
        return task, data, test.load_rows(torch.tensor([row]))


def draw_samples(config: Config, count: int) -> Path:
    """Draw some training rows unaugmented and as the first epochs see them; return the path of the image."""
    with show_warnings():
        data = dataset_loading.load_dataset(config)
    train = factory.make_loaders(config.tree, data, config.settings, torch.device("cpu"))["train"]
    with explain_errors(config.tree, "data"):
        sheet = feature_maps.make_sample_grid(
            train, min(count, len(train.split)), data.info.class_names, data.pixel_bounds()
        )
    (path,) = artifact_writer.write_artifacts(
        [replace(sheet, name=f"samples-{config.names['data']}")], run_dir.make_runs_root(), replace=False
    )
    return path
