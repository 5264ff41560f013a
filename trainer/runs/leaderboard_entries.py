"""Entries of the leaderboard: settings with scores, intervals and verdicts, ranked by the validation score."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trainer.core.metric import Metric
from trainer.runs import setting_comparison, setting_verdicts
from trainer.runs.finished_runs import FinishedRun
from trainer.runs.run_groups import average_score, group_by_data, group_by_setting, label_settings
from trainer.stats.row_bootstrap import compute_percentile_interval
from trainer.utils.text import format_count
from trainer.viz.score_tables import format_number


@dataclass(frozen=True)
class Entry:
    """A row of the leaderboard: all seeds and folds of one setting.

    Attributes:
        data: Name of the data set, with its source if there are several.
        monitor: Name of the monitored metric.
        model: Name of the model.
        overrides: Keys in which settings differ, with their values.
        runs: Number of runs.
        val: Mean validation score.
        test: Mean test score.
        std: Standard deviation of the test scores; None for a single run.
        baseline: Mean baseline score.
        best_possible: Mean best possible score.
        params: Number of parameters.
        seconds: Mean seconds of training.
        other_metrics: Means of the other test metrics, by name; None for one that no run has.
        seeds_low: Lower bound of the interval of the test score over seeds; None for too few seeds.
        seeds_high: Upper bound of it.
        rows_low: Lower bound of the interval over test rows; None without the terms of each row.
        rows_high: Upper bound of it.
        missing_scores: Number of seeds and folds that failed, or whose test score is not finite.
        verdict: What the seeds show about the best setting by validation and this one; empty for that one.
    """

    data: str
    monitor: str
    model: str
    overrides: str
    runs: int
    val: float
    test: float
    std: float | None
    baseline: float | None
    best_possible: float | None
    params: int
    seconds: float
    other_metrics: Mapping[str, float | None]
    seeds_low: float | None = None
    seeds_high: float | None = None
    rows_low: float | None = None
    rows_high: float | None = None
    missing_scores: int = 0
    verdict: str = ""


@dataclass(frozen=True)
class RankedTable:
    """Settings whose scores are on the same rows, best validation score first.

    Attributes:
        entries: One entry of each setting.
        settings: Runs of each setting.
        lines: Sentences about which settings differ.
    """

    entries: Sequence[Entry]
    settings: Sequence[Sequence[FinishedRun]]
    lines: Sequence[str]


def build_tables(finished: Sequence[FinishedRun]) -> list[RankedTable]:
    """Build a table for each data set and monitored metric among finished runs.

    Ranking by validation scores and only displaying test scores keeps the test rows out of the selection.
    """
    tables = []
    for data, groups in group_by_data(group_by_setting(finished)):
        pairs = [
            (_build_entry(data, label, runs), runs) for label, runs in zip(label_settings(groups), groups, strict=True)
        ]
        pairs.sort(key=lambda pair: _sort_key(pair[0], pair[1][0].metric))
        tables.append(_compare_settings([entry for entry, _ in pairs], [runs for _, runs in pairs]))
    return sorted(tables, key=lambda table: (table.entries[0].data, table.entries[0].monitor))


def _compare_settings(entries: Sequence[Entry], settings: Sequence[Sequence[FinishedRun]]) -> RankedTable:
    """Add intervals and verdicts to the entries of a table: those of its first setting against each other one."""
    metric = settings[0][0].metric
    pairs: list[setting_comparison.ComparedPair] = []
    lines: list[str] = []
    if metric is not None and len(entries) > 1:
        others = [(0, other) for other in range(1, len(entries))]
        pairs = setting_comparison.compare_pairs(settings, others, higher_is_better=metric.higher_is_better)
        lines = setting_verdicts.describe_pairs(pairs, _label_entries(entries), settings)
    lines += setting_verdicts.describe_missing_scores(_label_entries(entries), settings)
    rows = setting_comparison.resample_rows(settings)
    compared = []
    for index, (entry, runs) in enumerate(zip(entries, settings, strict=True)):
        seeds = setting_comparison.summarize_scores(runs).interval
        over_rows = None if isinstance(rows, str) else compute_percentile_interval(rows.scores[:, index])
        conclusion = pairs[index - 1].conclusion if index and pairs else None
        verdict = "" if conclusion is None else setting_verdicts.describe_second(conclusion)
        (seeds_low, seeds_high), (rows_low, rows_high) = seeds or (None, None), over_rows or (None, None)
        compared.append(
            replace(
                entry,
                seeds_low=seeds_low,
                seeds_high=seeds_high,
                rows_low=rows_low,
                rows_high=rows_high,
                missing_scores=setting_comparison.count_missing_scores(runs),
                verdict=verdict,
            )
        )
    if not isinstance(rows, str) and compared[0].rows_low is not None:
        interval = format_interval(compared[0].rows_low, compared[0].rows_high)
        lines.append(f"test score of the first: {interval} over the {format_count(rows.num_rows, 'test row')} (95 %)")
    return RankedTable(compared, settings, lines)


def _label_entries(entries: Sequence[Entry]) -> list[str]:
    """Return short labels that tell the settings of a table apart."""
    if len({entry.model for entry in entries}) > 1 or not all(entry.overrides for entry in entries):
        return [f"{entry.model} {entry.overrides}".rstrip() for entry in entries]
    return [entry.overrides for entry in entries]


def _build_entry(data: str, label: str, runs: Sequence[FinishedRun]) -> Entry:
    first, name = runs[0].results, runs[0].monitor
    summary = setting_comparison.summarize_scores(runs)
    other_names = [other_name for other_name in first["test"] if other_name != name]
    return Entry(
        data=data,
        monitor=name,
        model=first["model"],
        overrides=label,
        runs=len(runs),
        val=statistics.fmean(run.results["val"][name] for run in runs),
        test=summary.mean,
        std=summary.std,
        baseline=average_score(runs, "baseline", name),
        best_possible=average_score(runs, "best_possible", name),
        params=first["params"],
        seconds=round(statistics.fmean(run.results["seconds"] for run in runs), 2),
        other_metrics={other_name: average_score(runs, "test", other_name) for other_name in other_names},
    )


def _sort_key(entry: Entry, metric: Metric | None) -> float:
    return -entry.val if metric is not None and metric.higher_is_better else entry.val


def format_interval(low: float | None, high: float | None) -> str:
    """Format the bounds of an interval; empty without bounds.

    Args:
        low: Lower bound.
        high: Upper bound.
    """
    return "" if low is None or high is None else f"{format_number(low)} to {format_number(high)}"
