"""Metrics of labeled rows with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config.schema import Settings
from trainer.core import rng
from trainer.core.batch import Batch, RowValues, Score, ScoreAccumulator
from trainer.core.task import Task
from trainer.engine import precision
from trainer.engine.dataloader import Loader

LEVEL = 0.95
"""Probability mass of an interval."""
DEFAULT_RESAMPLES = 1000
SEED = 0
"""Seed of the resamples, so that an evaluation is repeatable."""
MAX_ROW_VALUES = 1 << 17
"""Number of values, such as pixels, that all rows together have in a resample; of more, each row has a random part."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of labeled rows.

    Attributes:
        scores: Metrics by name.
        intervals: Bounds of the interval of each metric; metrics that are undefined in every resample have none.
        num_rows: Number of rows, or of outputs such as nodes.
        class_counts: Number of targets of each class up to the last one that occurs; empty for numbers.
    """

    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    num_rows: int
    class_counts: list[int]

    def count_class(self, index: int) -> int:
        """Return the number of targets of a class, given by its index."""
        return self.class_counts[index] if index < len(self.class_counts) else 0


class Evaluator:
    """Evaluator of labeled rows that are given in chunks.

    The metrics are those of ``evaluate_split``. The interval of a metric has the percentiles of its values over
    resamples of the rows with replacement. Of rows with many values, such as the pixels of images, resamples have a
    fixed random part; their metrics are shifted by the difference between all values and this part.

    Args:
        task: The task; it is set to evaluation mode.
        settings: Global keys of the configuration, for seed and precision.
        resamples: Number of resamples; 0 for no intervals.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, Chapman and Hall 1993, section 13.3 (percentiles).
    """

    def __init__(self, task: Task, settings: Settings, resamples: int = DEFAULT_RESAMPLES):
        self._task, self._settings, self._resamples = task.eval(), settings, resamples
        self._num_rows = 0
        self._totals = ScoreAccumulator()
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._row_scores: list[Score] = []
        self._class_counts = torch.zeros(0, dtype=torch.long)

    @torch.no_grad()
    def add(self, make_loader: Callable[[int | None], Loader]) -> None:
        """Add the rows of a split.

        Args:
            make_loader: Function that returns a loader of the split for a batch size; None is that of evaluation.
        """
        self._for_each_batch(make_loader(None), self._add_batch)
        if self._resamples and not self._outputs:
            self._for_each_batch(make_loader(1), lambda batch: self._row_scores.append(self._task.score(batch)))

    def _for_each_batch(self, loader: Loader, use: Callable[[Batch], None]) -> None:
        with rng.fork_rng(self._settings.seed, loader.device), closing(loader.iter_epoch(0)) as batches:
            for batch in batches:
                with precision.autocast_context(loader.device, self._settings.precision):
                    use(batch)

    def _add_batch(self, batch: Batch) -> None:
        if self._task.scores_outputs:
            batch.output = self._task.forward_batch(batch)
            if batch.output.dim() <= 2:  # resampled maps and sequences would take too long and too much memory
                self._outputs.append(batch.output)
                self._targets.append(batch.require_target())
        self._totals.update(self._task.score(batch))
        self._num_rows += len(batch)
        if batch.target is not None and not batch.target.is_floating_point():
            counts = batch.target[batch.target >= 0].flatten().cpu().bincount(minlength=len(self._class_counts))
            counts[: len(self._class_counts)] += self._class_counts
            self._class_counts = counts

    @torch.no_grad()
    def compute(self) -> Evaluation:
        """Return the metrics of all rows."""
        scores = self._task.metrics(self._totals.compute_totals())
        num_rows = sum(map(len, self._outputs)) or self._num_rows
        values = {name: list[float]() for name in scores}
        for resampled in self._iter_resampled_scores(num_rows, scores):
            for name, value in resampled.items():
                values[name].append(value)
        intervals = {name: _compute_interval(sample) for name, sample in values.items()}
        known = {name: bounds for name, bounds in intervals.items() if bounds is not None}
        return Evaluation(scores, known, num_rows, self._class_counts.tolist())

    def _iter_resampled_scores(self, num_rows: int, scores: Mapping[str, float]) -> Iterator[dict[str, float]]:
        if not self._resamples or num_rows == 1:
            return
        resampler = (
            _OutputResampler(self._task, torch.cat(self._outputs), torch.cat(self._targets))
            if self._outputs
            else _RowResampler(self._row_scores)
        )
        shifts = dict.fromkeys(scores, 0.0)
        if resampler.is_part:
            part = self._task.metrics(resampler.compute_totals(torch.arange(num_rows)))
            shifts = {name: value - part[name] for name, value in scores.items()}
        generator = rng.make_generator(SEED)
        for _ in range(self._resamples):
            totals = resampler.compute_totals(torch.randint(num_rows, (num_rows,), generator=generator))
            yield {name: value + shifts[name] for name, value in self._task.metrics(totals).items()}


class _OutputResampler:
    """Totals of resampled rows, of which the outputs (N, C) and targets (N, ...) are known."""

    is_part = False

    def __init__(self, task: Task, outputs: Tensor, targets: Tensor):
        self._task, self._outputs, self._targets = task, outputs, targets

    def compute_totals(self, rows: Tensor) -> dict[str, Tensor]:
        index = rows.to(self._outputs.device)
        totals = ScoreAccumulator()
        totals.update(self._task.score(Batch({}, self._targets[index], index, output=self._outputs[index])))
        return totals.compute_totals()


class _RowResampler:
    """Totals of resampled rows, of which the scores are known.

    Args:
        scores: Score of each row.

    Attributes:
        is_part: Whether only a part of the values of each row is kept.
    """

    def __init__(self, scores: Sequence[Score]):
        sums: dict[str, list[Tensor]] = {}
        rows: list[dict[str, Tensor]] = []
        for score in scores:
            rows.append({name: value.values.cpu() for name, value in score.items() if isinstance(value, RowValues)})
            for name, value in score.items():
                if not isinstance(value, RowValues):
                    sums.setdefault(name, []).append(value.cpu())
        self._sums = {name: torch.stack(values) for name, values in sums.items()}
        num_values = sum(max(map(len, row.values()), default=0) for row in rows)
        self.is_part = num_values > max(MAX_ROW_VALUES, len(rows))
        if self.is_part:
            generator = rng.make_generator(SEED)
            rows = [_draw_part(row, MAX_ROW_VALUES / num_values, generator) for row in rows]
        self._values = {name: [row[name] for row in rows] for name in rows[0]}

    def compute_totals(self, rows: Tensor) -> dict[str, Tensor]:
        counts = torch.bincount(rows, minlength=len(rows)).double()
        sums = {
            name: torch.tensordot(counts, values.double(), dims=1).to(values.dtype)
            for name, values in self._sums.items()
        }
        index = rows.tolist()
        return sums | {name: torch.cat([values[row] for row in index]) for name, values in self._values.items()}


def _draw_part(row: Mapping[str, Tensor], share: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Return a random share of the values of a row, of the same positions in tensors of the same length."""
    positions: dict[int, Tensor] = {}
    for count in map(len, row.values()):
        if count not in positions:
            positions[count] = torch.randperm(count, generator=generator)[: math.ceil(share * count)]
    return {name: values[positions[len(values)]] for name, values in row.items()}


def _compute_interval(sample: list[float]) -> tuple[float, float] | None:
    """Return the percentiles of a sample that hold ``LEVEL`` of it; None without finite values."""
    values = torch.tensor(list(filter(math.isfinite, sample)), dtype=torch.float64)
    if not len(values):
        return None
    low, high = torch.quantile(values, torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)).tolist()
    return low, high
