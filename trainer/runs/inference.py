"""What is done with a run that was trained: scored again, asked to write, looked into; and data before any run."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch

from trainer.config.compose import Config
from trainer.core import artifacts, rng
from trainer.core.batch import Batch
from trainer.core.dataset import Data
from trainer.core.task import Task
from trainer.engine import checkpoint, dataset_loading, device, evaluation, factory
from trainer.engine.dataset_state import Excerpt
from trainer.runs import consistency, feature_extractor, run_dir
from trainer.runs import train as runner
from trainer.runs.results import Result
from trainer.runs.run_setup import as_saved
from trainer.utils.errors import ConfigError
from trainer.utils.text import pluralize
from trainer.viz import artifact_writer, model_inspection, score_tables
from trainer.viz.console import console, say, warnings_told

log = logging.getLogger(__name__)

TOLERANCE, OTHER_DEVICE_TOLERANCE = 1e-2, 5e-2
"""By how much of itself a score may differ when it is measured again: on its kind of device, and on another."""


def load_run(kept: Config, *, reads_files: bool = True, to_score: bool = False) -> tuple[Task, Data]:
    """A stored run's task with its best weights, and its data as the run learned it.

    reads_files: whether the data is read from its files, rather than from the run alone. to_score: with the classifier
    that its rows are compared by, if it has one.

    Raises ConfigError for a run folder whose files are not of one run, and for data that has changed.
    """
    file = Path(kept.folder) / checkpoint.BEST
    best = consistency.load_best(Path(kept.folder))
    torch.set_num_threads(kept.settings.threads or best["about"]["threads"])
    device.keep_freed_memory()
    with warnings_told():
        data = (dataset_loading.read_again if reads_files else dataset_loading.restore)(kept, best["data"])
    if to_score:
        feature_extractor.attach(as_saved(kept, best), data, runner.train_nested_run)
    with warnings_told():
        where = device.pick_again(kept.settings.device)
    task = factory.task(kept.tree, data, kept.names).to(where)
    consistency.load_weights(task, best, file)
    return task.eval(), data


def evaluate(kept: Config) -> dict[str, float]:
    """Scores the best weights of a stored run on its test rows, and shows them."""
    task, data = load_run(kept, to_score=True)
    test = factory.loaders(kept.tree, data, kept.settings, task.progress.device)["test"]
    scores = evaluation.evaluate(task, test, kept.settings)
    stored = Result.read(Path(kept.folder))
    result = replace(stored, test=scores)
    if not kept.settings.allow_changed_data:
        with warnings_told():
            _warn_of_other_scores(stored, scores, task.progress.device)
    else:  # the test rows may be others
        with rng.isolated(kept.settings.seed, task.progress.device):
            baseline, best = task.references()
        result.baseline = baseline | dict(data.facts.baseline)
        result.best_possible = best | dict(data.facts.best_possible)
    console.print(score_tables.score_table(result))
    return scores


def _warn_of_other_scores(stored: Result, scores: Mapping[str, float], where: torch.device) -> None:
    """Warns of test scores in a file of results that are not those of the weights beside it."""
    is_alike = stored.device.split(":")[0] == where.type
    room = TOLERANCE if is_alike else OTHER_DEVICE_TOLERANCE
    other = [
        f"test.{key} is {score_tables.number(value)}, not {score_tables.number(scores[key])}"
        for key, value in stored.test.items()
        if key in scores and not _is_close(value, scores[key], room)
    ]
    if other:
        there = "" if is_alike else f"; it was measured on {stored.device}, and this is {where}"
        what = f"{', '.join(other)}, which is what these weights score: one of the two was changed{there}"
        log.warning("%s: %s", stored.path, what)


def _is_close(one: float, other: float, room: float) -> bool:
    return math.isclose(one, other, rel_tol=room, abs_tol=room / 100) or (math.isnan(one) and math.isnan(other))


def sample(kept: Config, options: Mapping[str, Any]) -> Iterator[str]:
    """What the best weights of a stored run write, piece by piece; ``options`` are those of the task's ``sample``.

    What is not text goes into the run's folder, and its path is told.
    """
    names_rows = not options.keys().isdisjoint(factory.find_class(kept.tree["task"], Task).row_options)  # type: ignore[type-abstract]
    task, _ = load_run(kept, reads_files=names_rows)
    with warnings_told():
        pieces = iter(task.sample(**options))  # type: ignore[operator]
        first = list(islice(pieces, 1))
    for piece in chain(first, pieces):
        yield (
            piece
            if isinstance(piece, str)
            else f"{artifact_writer.draw([piece], Path(kept.folder), replace=False)[0]}\n"
        )


def score(kept: Config, path: str | None) -> Path:
    """Rates each row of a file, or of a stored run's test split, by its best weights; gives the path of the table.

    Rows of a file are numbered from 1, as messages count them, and test rows from 0, as everywhere.

    Raises ConfigError for a file that the data of the run cannot read, or without the classes that its model is told.
    """
    task, data = load_run(kept, reads_files=path is None)
    if path is not None:
        with warnings_told():
            data.test = data.read(path)
        if getattr(task.model, "num_classes", None) is not None and data.test.targets() is None:
            raise ConfigError(f"input: the model of this run is told the class of each row; {path} does not say it")
    test = factory.loaders(kept.tree, data, kept.settings, task.progress.device)["test"]
    ratings = evaluation.rate(task, test, kept.settings)
    called, names = data.test.names(first=0 if path is None else 1)
    rows = list(zip(names, *(values.tolist() for values in ratings.values()), strict=True))
    (written,) = artifact_writer.draw(
        [artifacts.Table("scores", (called, *ratings), rows)], Path(kept.folder), replace=False
    )
    for table in score_tables.rating_tables(called, names, ratings):
        console.print(table)
    say(f"{pluralize(len(rows), 'row')} rated in {written}")
    return written


def layers(kept: Config) -> list[tuple[str, ...]]:
    """Name, class, output of one row and parameters of each layer of a stored run's model."""
    task, data = load_run(kept, reads_files=False)
    batch = data.test.batch(torch.zeros(1, dtype=torch.long), 0).to(task.progress.device)
    found = model_inspection.layers(task, batch)
    return [(at.name, at.kind, str(tuple(at.output.shape[1:])), f"{at.params:,}") for at in found]


def features(kept: Config, layer: str, row: int) -> Path:
    """Draws what a layer makes of a test row into the folder of a stored run; gives the picture's path.

    Raises ConfigError for a layer or a row that is not there.
    """
    task, data, batch = _test_row(kept, row)
    sheet = model_inspection.features(task, batch, layer, data.pictures(), data.pixel_bounds())
    (path,) = artifact_writer.draw([sheet], Path(kept.folder), replace=False)
    return path


def _test_row(kept: Config, row: int) -> tuple[Task, Data, Batch]:
    """The task of a stored run, its data, and a batch of that test row.

    The first rows are kept with a run: they need no files.
    """
    task, data = load_run(kept, reads_files=False)
    if isinstance(data.test, Excerpt) and not data.test.contains_row(row):
        task, data = load_run(kept)
    test = factory.loaders(kept.tree, data, kept.settings, task.progress.device)["test"]
    if row >= len(test.split):
        raise ConfigError(f"row: {row} given; the test split has rows 0 to {len(test.split) - 1}")
    return task, data, test.rows(torch.tensor([row]))


def samples(config: Config, count: int) -> Path:
    """Draws some training rows, each as it is and as the first epochs see it; gives the picture's path."""
    with warnings_told():
        data = dataset_loading.read(config)
    train = factory.loaders(config.tree, data, config.settings, torch.device("cpu"))["train"]
    sheet = model_inspection.samples(train, min(count, len(train.split)), data.facts.class_names, data.pixel_bounds())
    (path,) = artifact_writer.draw(
        [replace(sheet, name=f"samples-{config.names['data']}")], run_dir.root(), replace=False
    )
    return path
