"""Scores of a run in context: the verdict line, and the table beside baseline, classical model and best possible."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from trainer.analysis.run_record import RunRecord
from trainer.inference.classical_scores import SavedScores
from trainer.metrics import registry
from trainer.viz.score_tables import format_metric_name, format_number


@dataclass(frozen=True)
class ScoreRow:
    """A row of the table of scores: a metric with its test score in context, as text."""

    metric: str
    direction: str
    is_monitor: bool
    baseline: str
    classical: str
    model: str
    best_possible: str
    validation: str


def write_verdict(record: RunRecord) -> str:
    """Return a sentence about the test score: how far it is from the baseline to the best possible score.

    Args:
        record: Records of the run.
    """
    results, name = record.results, record.monitor
    if results.get("debug"):
        return f"This run was a trial, debug={results['debug']}: its scores are of one step and one batch."
    test, baseline, best = ((results.get(group) or {}).get(name) for group in ("test", "baseline", "best_possible"))
    if record.status != "finished" or not is_number(test):
        return f"This run is {record.status}; it has no test score yet."
    label = format_metric_name(name)
    sentence = f"Test {label} {format_number(test)}"
    if not is_number(baseline):
        return f"{sentence}."
    metric = registry.find_metric(name, results.get("higher_is_better", {}))
    is_better = metric is not None and registry.is_better(test, baseline, metric)
    sentence += f", {'better' if is_better else 'not better'} than the baseline of {format_number(baseline)}"
    if is_number(best) and best != baseline and is_better:
        # Not rounded up, because 100 is the best possible score itself.
        percent = math.floor(100 * (test - baseline) / (best - baseline) + 1e-9)
        sentence += f"; {percent}% of the way from it to the best possible score of {format_number(best)}"
    return f"{sentence}."


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a recorded value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def list_scores(results: Mapping[str, Any], classical: SavedScores | None = None) -> list[ScoreRow]:
    """Return the rows of the table of scores, the monitored metric first.

    Args:
        results: Results of the run.
        classical: Scores of a classical model on the same rows.
    """
    groups = {name: results.get(name) or {} for name in ("val", "test", "baseline", "best_possible")}
    groups["classical"] = {} if classical is None else classical.scores
    names = [name for name in dict.fromkeys([*groups["test"], *groups["val"]]) if name != "loss"]
    monitor = results.get("monitor")

    def cell(group: str, name: str) -> str:
        value = groups[group].get(name)
        return format_number(value) if isinstance(value, int | float) else ""

    rows = []
    for name in sorted(names, key=lambda name: name != monitor):
        metric = registry.find_metric(name, results.get("higher_is_better", {}))
        direction = "" if metric is None else "higher is better" if metric.higher_is_better else "lower is better"
        cells = [cell(group, name) for group in ("baseline", "classical", "test", "best_possible", "val")]
        rows.append(ScoreRow(format_metric_name(name), direction, name == monitor, *cells))
    return rows


def describe_classical(classical: SavedScores | None) -> str | None:
    """Return a sentence about the column of the classical model, or why there is none; None for data without one.

    Args:
        classical: Scores of a classical model on the same rows; None if it was not fitted.
    """
    if classical is None or not (classical.model or classical.problem):
        return None
    if classical.problem:
        return f"No classical model beside these scores: {classical.problem}."
    rows = f"{classical.rows:,} training row{'s' if classical.rows != 1 else ''}"
    return f"{classical.model.capitalize()} of scikit-learn with its usual options, on {rows}."
