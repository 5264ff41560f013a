"""Choice of the monitored metric, which selects the best weights."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.core.metric import Metric
from trainer.core.task import Task
from trainer.metrics.registry import find_task_metric, get_monitor_name
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean


def select_monitor(task: Task, requested: str | None, reported: Sequence[str]) -> Metric:
    """Return the monitored metric of a run.

    Args:
        task: Task of the run.
        requested: Name of the metric in the configuration; None for the default of the task.
        reported: Names of the metrics that the task reports on this data set.

    Raises:
        ConfigError: The task does not report the metric, or its direction is unknown.
    """
    kind = type(task).__name__
    if not task.monitor:
        raise ConfigError(f'task: {kind} has no monitor; add one, as in monitor = Metric("{reported[0]}", False)')
    name = requested or get_monitor_name(task)
    if name not in reported:
        if name in task.optional_scores:
            selected = reported if task.selected_scores is None else task.selected_scores
            scores = ",".join([*map(str, selected), name])
            raise ConfigError(f"monitor: {name!r} is measured where task.scores names it: task.scores=[{scores}]")
        suggestion = did_you_mean(name, reported) or ";"
        if requested is None and task.selected_scores is not None:
            raise ConfigError(
                f"task.scores: {name!r} is the first entry and therefore the monitor, but it is not a single number;"
                f" put one of {', '.join(reported)} before it, or set monitor"
            )
        if requested is None:
            raise ConfigError(
                f"task: {kind}.monitor is {name!r}, which its metrics() does not return{suggestion}"
                f" it returns {', '.join(reported)}"
            )
        raise ConfigError(f"monitor: {name!r} is not a metric of this task{suggestion} one of {', '.join(reported)}")
    metric = find_task_metric(task, name)
    if metric is None:
        metric_code = f'Metric("{name}", higher_is_better=False)'
        declaration = f"monitor = {metric_code}" if name == task.monitor else f"reported_metrics = ({metric_code},)"
        raise ConfigError(
            f"monitor: {kind} reports {name!r} without declaring whether higher is better; declare it in the task:"
            f" {declaration}, or True (from trainer import Metric)"
        )
    return metric


def collect_directions(task: Task, reported: Sequence[str]) -> dict[str, bool]:
    """Return for each reported metric with a known direction whether higher is better, by name.

    Args:
        task: Task of the run.
        reported: Names of the metrics that the task reports.
    """
    metrics = {name: find_task_metric(task, name) for name in reported}
    return {name: metric.higher_is_better for name, metric in metrics.items() if metric}
