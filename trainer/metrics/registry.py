"""Registry of built-in metrics and metric families, and the comparison of two values.

It does not import torch, because saved runs are ranked without it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from trainer.core.metric import Metric

if TYPE_CHECKING:
    from trainer.core.task import Task


@dataclass(frozen=True)
class BuiltinMetric(Metric):
    """A metric that this package computes.

    Args:
        name: Name of the metric.
        higher_is_better: Direction of the metric.
        label: Name in tables, if it differs.
        is_proportion: Whether the metric is the fraction of correct rows.
    """

    label: str = ""
    is_proportion: bool = False


@dataclass(frozen=True)
class MetricFamily:
    """Metrics of one kind for each class or cutoff, such as ``iou_cat`` or ``hits_at_10``.

    Args:
        prefix: Prefix of the names.
        higher_is_better: Direction of the metrics.
    """

    prefix: str
    higher_is_better: bool

    def get_member(self, key: object) -> Metric:
        """Return the metric of one class or cutoff."""
        return Metric(f"{self.prefix}{key}", self.higher_is_better)

    def name_members(self, keys: Iterable[object]) -> list[str]:
        """Return the names of the metrics of several classes or cutoffs.

        White space in a key becomes ``_``; keys that would then be equal are numbered, as in ``New_York_2``.
        """
        texts = [str(key) for key in keys]
        used = set(texts)
        names = []
        for text in texts:
            name = re.sub(r"\s", "_", text)
            if name != text:
                name = next(each for n in count(1) if (each := name if n == 1 else f"{name}_{n}") not in used)
                used.add(name)
            names.append(self.get_member(name).name)
        return names


IOU_PER_CLASS = MetricFamily("iou_", higher_is_better=True)
F1_PER_CLASS = MetricFamily("f1_", higher_is_better=True)
PRECISION_PER_CLASS = MetricFamily("precision_", higher_is_better=True)
RECALL_PER_CLASS = MetricFamily("recall_", higher_is_better=True)
HITS_AT_K = MetricFamily("hits_at_", higher_is_better=True)
FAMILIES = (IOU_PER_CLASS, F1_PER_CLASS, PRECISION_PER_CLASS, RECALL_PER_CLASS, HITS_AT_K)

NLL = BuiltinMetric("nll", higher_is_better=False)
_HIGHER = (
    *("auc", "r2", "mean_iou", "pixel_accuracy", "token_accuracy", "bleu", "average_precision", "mrr"),
    *("beam_token_accuracy", "beam_exact_match", "beam_bleu"),
    *("elbo", "iw_bound", "log_likelihood", "codebook_perplexity"),
    *("modes", "within", "label_accuracy", "precision", "recall"),
    *("balanced_accuracy", "macro_precision", "macro_recall", "mcc", "coverage"),
)
_LOWER = (
    *("loss", "bits", "bits_per_dim", "perplexity", "mse", "rmse", "mae", "kl", "reconstruction"),
    *("gap", "forcing_gap", "energy_distance", "frechet", "copies"),
    *("ece", "set_size", "interval_width"),
)
BUILTIN_METRICS: Mapping[str, BuiltinMetric] = {
    metric.name: metric
    for metric in (
        BuiltinMetric("accuracy", higher_is_better=True, is_proportion=True),
        BuiltinMetric("exact_match", higher_is_better=True, is_proportion=True),
        BuiltinMetric("f1", higher_is_better=True, label="f1 (macro)"),
        NLL,
        *(BuiltinMetric(name, higher_is_better=True) for name in _HIGHER),
        *(BuiltinMetric(name, higher_is_better=False) for name in _LOWER),
    )
}


def find_builtin_metric(name: str) -> Metric | None:
    """Return the built-in metric of a name, which may belong to a family; None if there is none."""
    if name in BUILTIN_METRICS:
        return BUILTIN_METRICS[name]
    family = next((family for family in FAMILIES if name.startswith(family.prefix)), None)
    return family.get_member(name.removeprefix(family.prefix)) if family else None


def find_metric(name: str, saved: Mapping[str, bool]) -> Metric | None:
    """Return a metric of a saved run; None if its direction is unknown.

    Args:
        name: Name of the metric.
        saved: Saved directions, by name: whether higher is better. Empty for runs of earlier versions.
    """
    return Metric(name, saved[name]) if name in saved else find_builtin_metric(name)


def find_task_metric(task: Task, name: str) -> Metric | None:
    """Return a metric that a task reports, as declared by the task or else the built-in one.

    Args:
        task: The task.
        name: Name of the metric.

    Returns:
        The metric; None if neither the task nor the registry has it.
    """
    declared = [task.monitor, *task.reported_metrics]
    return next((m for m in declared if isinstance(m, Metric) and m.name == name), None) or find_builtin_metric(name)


def get_monitor_name(task: Task) -> str:
    """Return the name of the metric that selects the best weights of a task by default."""
    return get_metric_name(task.monitor)


def get_metric_name(metric: str | Metric) -> str:
    """Return the name of a metric, given as an object or as its name."""
    return metric.name if isinstance(metric, Metric) else metric


def get_label(name: str) -> str:
    """Return the label of a metric in tables."""
    metric = BUILTIN_METRICS.get(name)
    return (metric and metric.label) or name


def is_proportion(name: str) -> bool:
    """Return whether a metric is the fraction of correct rows."""
    metric = BUILTIN_METRICS.get(name)
    return metric is not None and metric.is_proportion


def is_better(value: float, best: float | None, metric: Metric) -> bool:
    """Return whether a value is better than the best one so far.

    Args:
        value: New value; NaN and infinity are never better.
        best: Best value so far; None if there is none.
        metric: The metric, for its direction.
    """
    if not math.isfinite(value):
        return False
    if best is None:
        return True
    return value > best if metric.higher_is_better else value < best
