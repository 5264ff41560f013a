"""Metrics of a split, decisions fitted on it, and scores of each of its rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any, cast

import torch
from torch import Tensor

from trainer.config.schema import Settings
from trainer.core import rng
from trainer.core.batch import Batch, Score, ScoreAccumulator
from trainer.core.prediction import Prediction
from trainer.core.task import Predictor, RowScorer, Task
from trainer.engine import precision
from trainer.engine.dataloader import Loader


@torch.no_grad()
def evaluate_split(
    task: Task, loader: Loader, settings: Settings, on_batch_end: Callable[[], None] | None = None
) -> dict[str, float]:
    """Return the metrics of a split by name; they do not depend on the batch size.

    Random numbers come from a forked generator with a fixed seed, so that an evaluation is repeatable and does not
    change training.

    Args:
        task: The task; it is set to evaluation mode.
        loader: Loader of the split.
        settings: Global keys of the configuration, for seed and precision.
        on_batch_end: Called after every batch.
    """
    with rng.fork_rng(settings.seed, loader.device):
        return task.metrics(_compute_totals(task, task.score, loader, settings, on_batch_end))


@torch.no_grad()
def fit_decisions(
    task: Task, loader: Loader, settings: Settings, on_batch_end: Callable[[], None] | None = None
) -> dict[str, float]:
    """Fit the decisions of a task, such as a threshold, with its current weights.

    Args:
        task: The task; it is set to evaluation mode.
        loader: Loader of the validation split.
        settings: Global keys of the configuration, for seed and precision.
        on_batch_end: Called after every batch.

    Returns:
        The values with scores before and after, by name, as ``Task.fit_decisions`` returns them; empty for a task that
        fits none.
    """
    task.decisions = {}
    if not task.example_decisions():
        return {}
    with rng.fork_rng(settings.seed, loader.device):
        return task.fit_decisions(_compute_totals(task, task.collect_decision_rows, loader, settings, on_batch_end))


def _compute_totals(
    task: Task,
    score: Callable[[Batch], Score],
    loader: Loader,
    settings: Settings,
    on_batch_end: Callable[[], None] | None,
) -> dict[str, Tensor]:
    """Return the totals of a score over all batches of a split, with the task in evaluation mode."""
    task.eval()
    totals = ScoreAccumulator()
    with closing(loader.iter_epoch(0)) as batches:
        for batch in batches:
            with precision.autocast_context(loader.device, settings.precision):
                totals.update(score(batch))
            if on_batch_end is not None:
                on_batch_end()
    return totals.compute_totals()


@torch.no_grad()
def predict_rows(
    task: Task, loader: Loader, settings: Settings, options: Mapping[str, Any] | None = None
) -> dict[str, Tensor]:
    """Return the predictions of a split.

    Args:
        task: A task that implements ``Predictor``; it is set to evaluation mode.
        loader: Loader of the split, which needs no targets.
        settings: Global keys of the configuration, for seed and precision.
        options: Options of ``predict`` of the task.

    Returns:
        Predictions ``(K, ...)`` on the CPU in the order of the split, by name, and the targets ``(K, ...)`` as
        ``target`` if the split has them. K is the number of rows, or of outputs such as nodes.
    """
    task.eval()

    def predict_batches() -> Generator[tuple[Tensor, Prediction], None, None]:
        with closing(loader.iter_epoch(0)) as batches:
            for batch in batches:
                with precision.autocast_context(loader.device, settings.precision):
                    predicted = cast(Predictor, task).predict(batch, **(options or {}))
                target = {} if batch.target is None else {"target": batch.target}
                yield batch.index.cpu(), {name: value.cpu() for name, value in ({**predicted} | target).items()}

    with rng.fork_rng(settings.seed, loader.device), closing(predict_batches()) as parts:
        return loader.split.collect_outputs(parts, task.choose_labels)


@torch.no_grad()
def score_rows(task: Task, loader: Loader, settings: Settings) -> dict[str, Tensor]:
    """Return the scores of each row of a split, such as likelihoods, by name.

    Args:
        task: A task that implements ``RowScorer``; it is set to evaluation mode.
        loader: Loader of the split.
        settings: Global keys of the configuration, for seed and precision.

    Returns:
        Scores ``(N,)`` on the CPU in the order of the split, by name.
    """
    task.eval()
    scores, index = [], []
    with rng.fork_rng(settings.seed, loader.device), closing(loader.iter_epoch(0)) as batches:
        for batch in batches:
            with precision.autocast_context(loader.device, settings.precision):
                scores.append(cast(RowScorer, task).score_rows(batch))
            index.append(batch.index)
    order = torch.cat(index).argsort().cpu()
    return {name: torch.cat([part[name].float().cpu() for part in scores])[order] for name in scores[0]}
