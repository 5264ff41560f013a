"""A task whose metrics are chosen in the configuration: built-in ones by name, and metrics of plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from trainer.core.batch import RowValues, Score
from trainer.core.task import Task
from trainer.metrics.computed import ComputedMetric, as_computed_metric, check_names
from trainer.metrics.registry import get_metric_name


class ScoredTask(Task):
    """Reports the metrics that it is given, and chooses the best weights by the first.

    Args:
        model: The network.
        scores: Names of built-in metrics, and metrics of a user's own: what ``as_computed_metric`` takes.

    Raises:
        ValueError: There is none, two have one name, or one of them is no metric.
    """

    def __init__(self, model: nn.Module, scores: Sequence[Any]):
        super().__init__(model)
        self.scores: list[Any] = [score if isinstance(score, str) else as_computed_metric(score) for score in scores]
        if not self.scores:
            raise ValueError("scores is empty; its first entry chooses the best weights")
        self.computed_metrics = tuple(score for score in self.scores if isinstance(score, ComputedMetric))
        check_names(self.computed_metrics)
        self.reported_metrics = self.computed_metrics
        self.monitor = self.scores[0]

    def collect_rows(self, predictions: Tensor, targets: Tensor) -> Score:
        """Return the rows of a batch that count, for metrics of a user's own; nothing where there is none."""
        rows: Score = {"predictions": RowValues(predictions), "targets": RowValues(targets)}
        return rows if self.computed_metrics else {}

    def select_scores(self, known: Mapping[str, float], totals: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the metrics that were asked for, in that order.

        Args:
            known: The value of each built-in metric.
            totals: Of a whole split, with what ``collect_rows`` gave.
        """
        found = {**known}
        for metric in self.computed_metrics:
            found[metric.name] = metric.compute(totals["predictions"], totals["targets"])
        return {name: found[name] for name in map(get_metric_name, self.scores) if name in found}
