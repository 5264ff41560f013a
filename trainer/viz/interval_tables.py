"""Tables of metrics with intervals, for terminals of 60 columns or more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from rich.table import Table

from trainer.viz import score_tables

MAX_CLASSES = 30
"""Maximum number of classes in a table."""


class EvaluatedRows(Protocol):
    """Metrics of rows with intervals."""

    @property
    def scores(self) -> Mapping[str, float]: ...

    @property
    def intervals(self) -> Mapping[str, tuple[float, float]]: ...

    def count_class(self, index: int) -> int:
        """Return the number of rows of a class."""


def build_interval_tables(
    evaluation: EvaluatedRows, class_names: Sequence[object], members: Mapping[str, Sequence[str]]
) -> Iterator[Table]:
    """Build a table of the metrics of all rows, and one of those of each class, if there are any.

    Args:
        evaluation: Metrics of the rows.
        class_names: Names of the classes.
        members: Names of the metrics of each class, by kind of metric.
    """
    of_classes = {name for names in members.values() for name in names}
    table = score_tables.new_table(None)
    table.add_column("score", overflow="fold")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    for name, value in evaluation.scores.items():
        if name not in of_classes:
            label, interval = score_tables.format_metric_name(name), evaluation.intervals.get(name)
            table.add_row(label, score_tables.format_number(value), _format_interval(interval, " to "))
    yield table
    if members:
        yield _build_class_table(evaluation, class_names, members)


def _build_class_table(
    evaluation: EvaluatedRows, class_names: Sequence[object], members: Mapping[str, Sequence[str]]
) -> Table:
    """Build a table with the values of each class and, below them, their intervals, if there are any."""
    table = score_tables.new_table(None)
    table.add_column("class", overflow="fold")
    for kind in members:
        table.add_column(kind, justify="right")
    table.add_column("rows", justify="right")
    for index, class_name in enumerate(class_names[:MAX_CLASSES]):
        cells = [_format_cell(evaluation, names[index]) for names in members.values()]
        table.add_row(str(class_name), *cells, f"{evaluation.count_class(index):,}")
    if len(class_names) > MAX_CLASSES:
        table.caption = f"and {len(class_names) - MAX_CLASSES} more classes"
    return table


def _format_cell(evaluation: EvaluatedRows, name: str) -> str:
    value = score_tables.format_number(evaluation.scores[name])
    interval = _format_interval(evaluation.intervals.get(name), "-", decimals=3)
    return f"{value}\n{interval}" if interval else value


def _format_interval(interval: tuple[float, float] | None, separator: str, decimals: int | None = None) -> str:
    if interval is None:
        return ""
    bounds = (score_tables.format_number(bound) if decimals is None else f"{bound:.{decimals}f}" for bound in interval)
    return separator.join(bounds)
