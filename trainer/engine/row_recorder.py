"""Terms of the metrics of each row, recorded while a split is evaluated."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.core.batch import Batch, RowValues, Score
from trainer.core.row_terms import MetricTerms, RowTermCollector, Transform
from trainer.core.task import Task
from trainer.metrics.double_precision import to_double
from trainer.stats.row_bootstrap import RowTerms

log = logging.getLogger(__name__)

MAX_ROWS = 200_000
"""Most rows that are recorded."""
TOLERANCE = 1e-5
"""Relative difference up to which a metric equals the one that its terms give; logits may have single precision."""
PREFIX = "row_recorder/"
"""Begin of the names of recorded values among the scores of a batch."""


@dataclass(frozen=True)
class RecordedRows:
    """Terms of the rows of a split.

    Attributes:
        rows: Number of each row within the split (N,), int64, ascending.
        targets: Checksum of the targets of each row (N,), float64: rows of two runs with the same numbers and checksums
            are the same.
        terms: Terms (N,) of each metric.
    """

    rows: Tensor
    targets: Tensor
    terms: Mapping[str, MetricTerms]


class RowRecorder:
    """Recorder of row terms during one evaluation, which stays the same to the bit.

    The values pass through the scores of batches, so that batches which other processes evaluate are recorded, too.
    """

    def __init__(self) -> None:
        self._transforms: dict[str, Transform] = {}
        self._recorded: dict[str, Tensor] = {}

    def wrap_score(self, task: Task) -> Callable[[Batch], Score]:
        """Return the scoring function of a task, which also records rows where the task tells them apart."""
        if not task.scores_outputs or not isinstance(task, RowTermCollector):
            return task.score
        collector: RowTermCollector = task

        def score(batch: Batch) -> Score:
            batch.output = task.forward_batch(batch)
            return task.score(batch) | self._record(collector.collect_row_terms(batch), batch)

        return score

    def _record(self, terms: Mapping[str, MetricTerms], batch: Batch) -> Score:
        target = batch.require_target()
        score: dict[str, Tensor] = {
            "rows": batch.index if batch.output_index is None else batch.output_index,
            "targets": _sum_targets(target),
        }
        for name, (numerators, denominators, transform) in terms.items():
            self._transforms[name] = transform
            score |= {f"{name}/numerators": numerators, f"{name}/denominators": denominators}
        return {f"{PREFIX}{name}": RowValues(values.cpu()) for name, values in score.items()}

    def separate(self, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep the recorded values, and return the other totals of a split."""
        self._recorded = {key.removeprefix(PREFIX): value for key, value in totals.items() if key.startswith(PREFIX)}
        return {key: value for key, value in totals.items() if not key.startswith(PREFIX)}

    def collect(self, scores: Mapping[str, float]) -> RecordedRows | None:
        """Return what was recorded; None if nothing was, or there are too many rows.

        Args:
            scores: Metrics of the split. Those that the terms do not add up to, such as those of a subclass with the
                same name, are left out.
        """
        rows = self._recorded.get("rows")
        if rows is None or not 1 < len(rows) <= MAX_ROWS or len(rows.unique()) < len(rows):
            return None
        order = rows.argsort()
        terms = {
            name: MetricTerms(
                self._recorded[f"{name}/numerators"][order], self._recorded[f"{name}/denominators"][order], transform
            )
            for name, transform in self._transforms.items()
            if name in scores
        }
        known = {name: value for name, value in terms.items() if _has_score(value, scores[name])}
        if left_out := sorted(terms.keys() - known.keys()):
            log.info("rows: their terms do not add up to %s", ", ".join(left_out))
        return RecordedRows(rows[order], self._recorded["targets"][order], known) if known else None


def _sum_targets(target: Tensor) -> Tensor:
    """Return a checksum (B,) of the targets (B, ...) of each row, which depends on their order."""
    values = to_double(target).reshape(len(target), -1)
    return values @ torch.arange(1, values.shape[1] + 1, device=values.device, dtype=values.dtype)


def _has_score(terms: MetricTerms, score: float) -> bool:
    numerators, denominators = (values.double().numpy() for values in (terms.numerators, terms.denominators))
    value = RowTerms(numerators, denominators, terms.transform).compute_score()
    return math.isclose(value, score, rel_tol=TOLERANCE, abs_tol=1e-9)
