"""Table of the scores of an ensemble beside those of its members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from rich.table import Table

from trainer.viz.score_tables import TestScores, format_metric_name, format_number, new_table

MEASURES: Mapping[str, str] = {
    "disagreement": "two members predict different classes for {:.1%} of the test targets",
    "token_disagreement": "two members predict different next tokens for {:.1%} of the test tokens",
    "first_disagreement": "two members rank different candidates first for {:.1%} of the test rows",
    "spread": "the predictions of the members for a test row have a standard deviation of {:.4g} (mean)",
}
"""Sentences about the measures of diversity."""
MIN_WIDTH = 84
"""Number of letters of a line from which on all columns have a place."""


class TrainedMember(TestScores, Protocol):
    """Results of a member."""

    @property
    def seed(self) -> int: ...

    @property
    def epochs(self) -> int: ...

    @property
    def best_epoch(self) -> int | None: ...


def build_ensemble_table(result: TestScores, members: Mapping[str, Mapping[str, float]], width: int) -> Table:
    """Build a table of every test score of an ensemble, with the mean and the best of its members and the gain.

    Args:
        result: Scores of the ensemble.
        members: Scores of its members: ``mean``, ``best`` and ``gain``.
        width: Number of letters of a line; a narrow table has fewer columns.
    """
    columns = {
        "baseline": result.baseline,
        "member (mean)": members["mean"],
        "best member": members["best"],
        "ensemble": result.test,
        "gain": members["gain"],
        "best possible": result.best_possible,
    }
    if width < MIN_WIDTH:
        columns = {"member": members["mean"], "ensemble": result.test, "gain": members["gain"]}
    visible = {name: scores for name, scores in columns.items() if scores.keys() & result.test.keys()}
    table = new_table("test")
    table.add_column("score", overflow="fold")
    for name in visible:
        table.add_column(name, justify="right")
    for name in result.test:
        cells = [format_number(scores[name]) if name in scores else "" for scores in visible.values()]
        table.add_row(format_metric_name(name), *cells)
    return table


def describe_member(name: str, member: TrainedMember, metric: str) -> str:
    """Return a line about a member: its seed, the epoch of its weights, and its test score.

    Args:
        name: Name of the member.
        member: Its results.
        metric: Name of the metric.
    """
    epoch = "" if member.best_epoch is None else f", epoch {member.best_epoch} of {member.epochs}"
    score = f": {format_metric_name(metric)} {format_number(member.test[metric])}" if metric in member.test else ""
    return f"{name}, seed {member.seed}{epoch}{score}"


def describe_ensemble(
    test: Mapping[str, float], members: Mapping[str, Mapping[str, float]], metric: str, count: int
) -> Iterator[str]:
    """Yield what the ensemble has gained over a member by one metric, and how much its members differ.

    Args:
        test: Test scores of the ensemble.
        members: Scores of its members: ``mean``, ``best`` and ``gain``, and their ``diversity``.
        metric: Name of the metric.
        count: Number of members.
    """
    gain = members["gain"].get(metric)
    if gain is not None:
        verb = "better" if gain > 0 else "worse" if gain < 0 else "different"
        amount = f"{format_number(abs(gain))} {verb}" if gain else "no different"
        yield (
            f"ensemble of {count}: {format_metric_name(metric)} {format_number(test[metric])},"
            f" {amount} than its members on average, of which the best has {format_number(members['best'][metric])}"
        )
    if count > 1:
        yield from (MEASURES[name].format(value) for name, value in members.get("diversity", {}).items())
