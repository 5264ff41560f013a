"""Scores of a whole split, and of each of its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from trainer.config.schema import Settings
from trainer.core import rng
from trainer.core.batch import ScoreAccumulator
from trainer.core.task import RowScorer, Task
from trainer.engine import precision
from trainer.engine.dataloader import Loader


@torch.no_grad()
def evaluate_split(
    task: Task, loader: Loader, settings: Settings, on_batch_end: Callable[[], None] | None = None
) -> dict[str, float]:
    """Named scores of every row, exact however the rows are cut into batches.

    Its noise is its own and the same every time, so looking does not change what is trained. ``look`` is called after
    every batch.
    """
    task.eval()
    totals = ScoreAccumulator()
    with rng.fork_rng(settings.seed, loader.device):
        for batch in loader.iter_epoch(0):
            with precision.autocast_context(loader.device, settings.precision):
                totals.update(task.score(batch))
            if on_batch_end is not None:
                on_batch_end()
        return task.metrics(totals.compute_totals())


@torch.no_grad()
def score_rows(task: Task, loader: Loader, settings: Settings) -> dict[str, Tensor]:
    """How ordinary each row of a split is, by name: numbers (N,) in the order of the split, the same every time."""
    task.eval()
    scores, index = [], []
    with rng.fork_rng(settings.seed, loader.device):
        for batch in loader.iter_epoch(0):
            with precision.autocast_context(loader.device, settings.precision):
                scores.append(cast(RowScorer, task).score_rows(batch))
            index.append(batch.index)
    order = torch.cat(index).argsort().cpu()
    return {name: torch.cat([part[name].float().cpu() for part in scores])[order] for name in scores[0]}
