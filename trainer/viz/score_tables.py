"""Tables of scores for terminals of 40 columns or more."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from rich import box
from rich.table import Table

from trainer.core.metric import Metric
from trainer.metrics import registry
from trainer.utils.text import format_count

if TYPE_CHECKING:
    from torch import Tensor


MAX_UNUSUAL_ROWS = 10
"""Number of rows in the table of the most unusual rows."""
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


class TestScores(Protocol):
    """Test scores of a run, its baseline and the best possible scores, by metric, with the directions of metrics."""

    @property
    def test(self) -> Mapping[str, float]: ...

    @property
    def baseline(self) -> Mapping[str, float]: ...
    @property
    def best_possible(self) -> Mapping[str, float]: ...
    @property
    def higher_is_better(self) -> Mapping[str, bool]: ...


def format_number(value: float) -> str:
    """Format a number with at least three significant digits."""
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    size = abs(value)
    if 1e3 <= size < 1e6:
        return f"{value:.0f}"
    return f"{value:.4f}" if 1e-3 <= size < 1e3 or size == 0 else f"{value:.3g}"


def format_metric_name(name: str) -> str:
    """Return the label of a metric."""
    return registry.get_label(name)


def new_table(title: str | None) -> Table:
    """Create an empty table without borders."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)


def format_score_comparison(result: TestScores, name: str) -> str:
    """Format a score in context: ``baseline .50 | model .89 | best possible .8945``.

    Args:
        result: Scores of a run.
        name: Name of the metric.
    """
    parts = [("baseline", result.baseline), ("model", result.test), ("best possible", result.best_possible)]
    return " | ".join(f"{label} {format_number(scores[name])}" for label, scores in parts if name in scores)


def format_decisions(decisions: Mapping[str, float]) -> str:
    """Format fitted values, such as ``threshold 0.31 (f1 0.52 before, 0.61 after)``.

    Args:
        decisions: Values by name, each followed by its scores ``NAME_before`` and ``NAME_after``.
    """
    parts: dict[str, list[str]] = {}
    for name, value in decisions.items():
        metric = name.removesuffix("_after")
        if metric != name:
            before, after = (format_number(number) for number in (decisions[f"{metric}_before"], value))
            parts[next(reversed(parts))].append(f"{metric} {before} before, {after} after")
        elif not name.endswith("_before"):
            parts[f"{name.replace('_', ' ')} {format_number(value)}"] = []
    return ", ".join(f"{value} ({'; '.join(scores)})" if scores else value for value, scores in parts.items())


def explain_better_than_best(result: TestScores, name: str, num_rows: int) -> str | None:
    """Explain how a test score can exceed the best possible one; None if it does not.

    Args:
        result: Scores of a run.
        name: Name of the metric.
        num_rows: Number of test rows.
    """
    best, score = result.best_possible.get(name), result.test.get(name)
    metric = registry.find_metric(name, result.higher_is_better)
    if best is None or score is None or score == best or metric is None or not registry.is_better(score, best, metric):
        return None
    text = f"best possible {format_number(best)} is the Bayes-optimal score, an average over test sets"
    if not registry.is_proportion(name) or num_rows < 2 or not 0 < best < 1:
        return f"{text}; on {format_count(num_rows, 'row')} it can be exceeded by chance"
    margin = 1.96 * math.sqrt(best * (1 - best) / num_rows)
    low, high = max(0.0, best - margin), min(1.0, best + margin)
    conclusion = "inside it" if score <= high else "above it: look for training rows among the test rows"
    interval = f"its 95 % interval is {low:.3f} to {high:.3f}"
    return f"{text}; on {format_count(num_rows, 'row')} {interval}, and {format_number(score)} is {conclusion}"


def build_score_table(result: TestScores) -> Table:
    """Build a table of every test score, with the baseline and the best possible score if they are known.

    Args:
        result: Scores of a run.
    """
    columns = {"baseline": result.baseline, "model": result.test, "best possible": result.best_possible}
    visible_columns = {name: scores for name, scores in columns.items() if scores.keys() & result.test.keys()}
    table = new_table("test")
    table.add_column("score", overflow="fold")
    for name in visible_columns:
        table.add_column(name, justify="right")
    for name in result.test:
        table.add_row(
            format_metric_name(name),
            *(format_number(scores[name]) if name in scores else "" for scores in visible_columns.values()),
        )
    return table


def find_unusual_rows(rating: Tensor, metric: Metric | None) -> list[int]:
    """Return the indices of the most unusual rows, which ``build_rating_tables`` lists, the most unusual one first.

    Args:
        rating: Score (N,) of the rows.
        metric: Metric of the score; if None, higher values are more usual.
    """
    unusualness = -rating if metric is None or metric.higher_is_better else rating
    return unusualness.nan_to_num(math.inf).argsort(descending=True, stable=True)[:MAX_UNUSUAL_ROWS].tolist()


def build_rating_tables(
    row_title: str, names: Mapping[int, object], ratings: Mapping[str, Tensor], metric: Metric | None
) -> Iterator[Table]:
    """Build a table with quantiles of row scores, and one with the most unusual rows.

    Args:
        row_title: Noun for a row, for the header.
        names: Names of the most unusual rows at least, by index.
        ratings: Scores (N,) of the rows, by name; the first one ranks the rows.
        metric: Metric of the first rating; if None, higher values are more usual.
    """
    import numpy as np

    distribution = new_table("rows rated")
    distribution.add_column("score", overflow="fold")
    for quantile in QUANTILES:
        distribution.add_column(
            {0.0: "least", 0.5: "median", 1.0: "most"}.get(quantile, f"{quantile:.0%}"), justify="right"
        )
    for name, values in ratings.items():
        places = [round(quantile * (len(values) - 1)) for quantile in QUANTILES]
        # Not sorted by torch, whose indices would take twice the memory of the values.
        quantile_values = np.partition(values.cpu().numpy(), places)[places].astype(float)
        distribution.add_row(name, *map(format_number, quantile_values.tolist()))
    yield distribution
    first = next(iter(ratings.values()))
    unusual = new_table("most unusual")
    unusual.add_column(row_title, overflow="fold")
    for rating in ratings:
        unusual.add_column(rating, justify="right", overflow="fold")
    candidates = sorted(names)
    for index in (candidates[place] for place in find_unusual_rows(first[candidates], metric)):
        unusual.add_row(str(names[index]), *(format_number(float(values[index])) for values in ratings.values()))
    yield unusual
