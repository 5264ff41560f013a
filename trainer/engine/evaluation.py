"""Metrics of a split, decisions fitted on it, and scores of each of its rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, cast

import torch
from torch import Tensor

from trainer.config.schema import Settings
from trainer.core import rng
from trainer.core.batch import Batch, Score, ScoreAccumulator, move_score
from trainer.core.prediction import Prediction
from trainer.core.task import Predictor, RowScorer, Task
from trainer.engine import precision
from trainer.engine.dataloader import Loader
from trainer.engine.process_group import ProcessGroup
from trainer.engine.row_recorder import RowRecorder


@torch.no_grad()
def evaluate_split(
    task: Task,
    loader: Loader,
    settings: Settings,
    on_batch_end: Callable[[], None] | None = None,
    process_group: ProcessGroup | None = None,
    row_recorder: RowRecorder | None = None,
) -> dict[str, float]:
    """Return the metrics of a split by name; they do not depend on the batch size.

    Random numbers come from a forked generator with a fixed seed, so that an evaluation is repeatable and does not
    change training.

    Args:
        task: The task; it is set to evaluation mode.
        loader: Loader of the split.
        settings: Global keys of the configuration, for seed and precision.
        on_batch_end: Called after every batch; with several processes, after every batch of each of them.
        process_group: Processes that share the batches and all get the same metrics; None for one.
        row_recorder: Recorder of the terms of each row; None records none.
    """
    score = task.score if row_recorder is None else row_recorder.wrap_score(task)
    with rng.fork_rng(settings.seed, loader.device):
        totals = _compute_totals(task, score, loader, settings, on_batch_end, process_group)
        return task.metrics(totals if row_recorder is None else row_recorder.separate(totals))


@torch.no_grad()
def fit_decisions(
    task: Task,
    loader: Loader,
    settings: Settings,
    on_batch_end: Callable[[], None] | None = None,
    process_group: ProcessGroup | None = None,
) -> dict[str, float]:
    """Fit the decisions of a task, such as a threshold, with its current weights.

    Args:
        task: The task; it is set to evaluation mode.
        loader: Loader of the validation split.
        settings: Global keys of the configuration, for seed and precision.
        on_batch_end: Called after every batch; with several processes, after every batch of each of them.
        process_group: Processes that share the batches and all fit the same decisions; None for one.

    Returns:
        The values with scores before and after, by name, as ``Task.fit_decisions`` returns them; empty for a task that
        fits none.
    """
    task.decisions = {}
    if not task.example_decisions():
        return {}
    with rng.fork_rng(settings.seed, loader.device):
        return task.fit_decisions(
            _compute_totals(task, task.collect_decision_rows, loader, settings, on_batch_end, process_group)
        )


def _compute_totals(
    task: Task,
    score: Callable[[Batch], Score],
    loader: Loader,
    settings: Settings,
    on_batch_end: Callable[[], None] | None,
    process_group: ProcessGroup | None,
) -> dict[str, Tensor]:
    """Return the totals of a score over all batches of a split, with the task in evaluation mode."""
    task.eval()
    totals = ScoreAccumulator()
    with closing(_score_batches(score, loader, settings, on_batch_end, process_group)) as scores:
        for batch_score in scores:
            totals.update(batch_score)
    return totals.compute_totals()


def _score_batches(
    score: Callable[[Batch], Score],
    loader: Loader,
    settings: Settings,
    on_batch_end: Callable[[], None] | None,
    process_group: ProcessGroup | None,
) -> Generator[Score, None, None]:
    """Yield the score of each batch, in order; several processes share the batches."""

    def score_batches(order: Sequence[Tensor]) -> Generator[Score, None, None]:
        with closing(loader.iter_rows(order, 0)) as batches:
            for batch in batches:
                with precision.autocast_context(loader.device, settings.precision):
                    yield score(batch)
                if on_batch_end is not None:
                    on_batch_end()

    order = loader.make_batch_order(0)
    if process_group is None or process_group.size == 1:
        yield from score_batches(order)
        return
    before = rng.get_torch_rng_states(loader.device)
    yield from score_batches(order[:1])
    is_random = not all(map(torch.equal, before, rng.get_torch_rng_states(loader.device)))
    # Random numbers continue from batch to batch, so that only a process which scores all batches draws the same ones.
    yield from score_batches(order[1:]) if is_random else _share_batches(score_batches, order[1:], process_group)


def _share_batches(
    score_batches: Callable[[Sequence[Tensor]], Iterator[Score]], order: Sequence[Tensor], process_group: ProcessGroup
) -> Iterator[Score]:
    """Score every W-th batch on each of W processes, and yield the scores of all batches in their order.

    The batches and the order in which their scores are added are those of one process, and so are the metrics.
    """
    size = process_group.size
    # Processes call on_batch_end equally often: in the last round, some score the last batch once more.
    rounds = -(-len(order) // size)
    own_order = [order[min(number * size + process_group.rank, len(order) - 1)] for number in range(rounds)]
    own_scores = [move_score(score, torch.device("cpu")) for score in score_batches(own_order)]
    scores_by_rank: list[list[Score]] = process_group.all_gather_objects(own_scores)
    yield from (scores_by_rank[number % size][number // size] for number in range(len(order)))


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
