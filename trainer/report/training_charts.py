"""Charts of the training of a run: losses, scores, learning rates, gradient norms, update ratios."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trainer.analysis.run_record import RunRecord
from trainer.engine import update_ratio
from trainer.metrics import registry
from trainer.report.line_chart import Chart, Line

MAX_RATIO = 50.0
"""Ratio of the largest to the smallest loss above which its axis is logarithmic."""


@dataclass(frozen=True)
class ChartSet:
    """The charts of a run against one quantity.

    Args:
        key: Short name of the quantity, for identifiers.
        label: Its label.
        charts: Charts with it on the horizontal axis.
    """

    key: str
    label: str
    charts: Sequence[Chart]


def make_chart_sets(record: RunRecord) -> list[ChartSet]:
    """Return the charts of a run against steps, seconds and rows; empty without a validation.

    Args:
        record: Records of the run.
    """
    if not record.history:
        return []
    positions = {
        "steps": [row.get("step", math.nan) for row in record.history],
        "seconds": [row.get("seconds", math.nan) for row in record.history],
        "rows": count_rows(record),
    }
    sets = [
        ChartSet(key, label, _make_charts(record, values, label))
        for (key, values), label in zip(positions.items(), ("steps", "seconds", "training rows"), strict=True)
        if any(map(math.isfinite, values))
    ]
    return [charts for charts in sets if charts.charts]


def count_rows(record: RunRecord) -> list[float]:
    """Return the number of training rows, each as often as it was used, before each validation; NaN if unknown.

    Args:
        record: Records of the run.
    """
    number = (record.results.get("rows") or {}).get("train")
    batch = record.config.get("batch_size"), record.config.get("accumulate", 1)
    if not number or not all(isinstance(value, int) for value in batch):
        return [math.nan] * len(record.history)
    first = record.history[0]
    is_full_batch = first.get("step") == first.get("epoch")  # such as all nodes of a graph in each step
    rows_per_step = number if is_full_batch else batch[0] * batch[1]
    steps_per_epoch = math.ceil(number / rows_per_step)
    counts = []
    for row in record.history:
        epochs, steps = divmod(row.get("step", math.nan), steps_per_epoch)
        counts.append(epochs * number + min(steps * rows_per_step, number))
    return counts


def _make_charts(record: RunRecord, positions: Sequence[float], x_label: str) -> list[Chart]:
    history = record.history
    best = next((row for row in history if row.get("epoch") == record.results.get("best_epoch")), None)
    mark = None
    if best is not None:
        mark = positions[history.index(best)], f"chosen epoch {best['epoch']:g}"

    def line(name: str, key: str) -> Line:
        return Line(name, [(x, row.get(key, math.nan)) for x, row in zip(positions, history, strict=True)])

    losses = [line(name, key) for name, key in (("training", "train_loss"), ("validation", "val_loss"))]
    charts = [Chart("loss", x_label, _drop_empty(losses), mark, is_log=_spans_decades(losses))]
    scores = [name.removeprefix("val_") for name in history[0] if name.startswith("val_") and name != "val_loss"]
    ordered = sorted(scores, key=lambda name: name != record.monitor)
    charts += [
        Chart(f"validation {registry.get_label(name)}", x_label, [line(registry.get_label(name), f"val_{name}")], mark)
        for name in ordered
    ]
    charts.append(Chart("learning rate", x_label, _make_lines(history, line, "lr_"), mark))
    charts.append(Chart("gradient norm", x_label, [line("mean gradient norm", "grad_norm")], mark))
    ratios = _make_lines(history, line, update_ratio.PREFIX)
    charts.append(Chart("update ratio", x_label, ratios, mark, is_log=_spans_decades(ratios)))
    return [chart for chart in charts if chart.has_points]


def _make_lines(history: Sequence[Mapping[str, float]], line: Callable[[str, str], Line], prefix: str) -> list[Line]:
    return [line(key.removeprefix(prefix), key) for key in history[0] if key.startswith(prefix)]


def _drop_empty(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if any(math.isfinite(y) for _, y in line.points)]


def _spans_decades(lines: Sequence[Line]) -> bool:
    values = [y for line in lines for _, y in line.points if math.isfinite(y)]
    return bool(values) and min(values) > 0 and max(values) / min(values) > MAX_RATIO
