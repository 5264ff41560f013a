"""Base class of tasks with configurable metrics: built-in metrics by name, and metrics of plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from trainer.core.batch import RowValues, Score
from trainer.core.metric import Metric
from trainer.core.task import Task
from trainer.metrics.computed import ComputedMetric, as_computed_metric, check_unique_names
from trainer.metrics.registry import get_metric_name


class ScoredTask(Task):
    """Base class of tasks that report the metrics in ``scores``.

    Args:
        model: Model to train.
        scores: Names of built-in metrics, and metrics of plugins; the first one selects the best weights.

    Raises:
        ValueError: There are no metrics, a name occurs twice, or an entry is not a metric.
    """

    evaluation_scores: ClassVar[Sequence[str]] = ()
    """Names of the built-in metrics of a complete evaluation, each under one name."""

    def __init__(self, model: nn.Module, scores: Sequence[Any]):
        super().__init__(model)
        self.scores: list[Any] = [score if isinstance(score, str) else as_computed_metric(score) for score in scores]
        if not self.scores:
            raise ValueError("scores is empty; its first entry selects the best weights")
        self.computed_metrics = tuple(score for score in self.scores if isinstance(score, ComputedMetric))
        check_unique_names(self.computed_metrics)
        self.reported_metrics = self.computed_metrics
        self.monitor = self.scores[0]

    def report_all_metrics(self) -> None:
        self.scores += [name for name in self.evaluation_scores if name not in self.scores]

    @property
    def selected_scores(self) -> Sequence[str | Metric]:
        return self.scores

    def collect_rows(self, predictions: Tensor, targets: Tensor) -> Score:
        """Return the rows that the metrics of plugins need; nothing if there are no such metrics.

        Args:
            predictions: Predictions (N, ...), without ignored rows.
            targets: Targets (N, ...).
        """
        if not self.computed_metrics:
            return {}
        return {"predictions": RowValues(predictions), "targets": RowValues(targets)}

    def select_scores(self, builtin_scores: Mapping[str, float], totals: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the metrics in ``scores`` by name, in that order.

        Args:
            builtin_scores: Values of all built-in metrics.
            totals: Totals of a split, including the rows of ``collect_rows``.
        """
        scores = {**builtin_scores}
        for metric in self.computed_metrics:
            scores[metric.name] = metric.compute(totals["predictions"], totals["targets"])
        names = [get_metric_name(score) for score in self.scores]
        return {name: scores[name] for name in names if name in scores}
