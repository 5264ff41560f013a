"""Comparison of trained settings: scores side by side, differences over seeds and over test rows, verdicts."""

from __future__ import annotations

import itertools
import os
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.core.metric import Metric
from trainer.runs import run_dir, saved_run, setting_comparison
from trainer.runs.finished_runs import FinishedRun, read_runs
from trainer.runs.run_groups import average_score, group_by_data, group_by_setting, label_settings
from trainer.stats.row_bootstrap import compute_percentile_interval
from trainer.utils.errors import ConfigError
from trainer.utils.paths import describe_missing_path
from trainer.utils.text import format_count, join_names

Interval = tuple[float, float]


@dataclass(frozen=True)
class ComparedSetting:
    """A setting and its scores.

    Attributes:
        path: Directory of the run or of the runs.
        model: Name of the model.
        label: Overrides in which the settings differ.
        seeds: Seeds of its runs, with the folds if there are several.
        missing_scores: Number of seeds that failed, or whose test score is not finite.
        val: Mean monitored validation score.
        test: Mean monitored test score.
        std: Standard deviation of the test scores; None for a single one.
        over_seeds: Interval of the mean over seeds; None for too few seeds.
        over_rows: Interval over test rows; None without the terms of each row.
        params: Number of parameters.
        seconds: Mean seconds of training.
        other_metrics: Means of the other test metrics, by name.
    """

    path: str
    model: str
    label: str
    seeds: list[str]
    missing_scores: int
    val: float
    test: float
    std: float | None
    over_seeds: Interval | None
    over_rows: Interval | None
    params: int
    seconds: float
    other_metrics: dict[str, float | None]


@dataclass(frozen=True)
class Difference:
    """Difference of the test scores of two settings.

    Attributes:
        pair: Its comparison over seeds, with the verdict.
        value: Mean score of the first minus that of the second, over the runs that are compared.
        over_rows: Interval of the difference of the means over test rows; None without the terms of each row.
    """

    pair: setting_comparison.ComparedPair
    value: float
    over_rows: Interval | None


@dataclass(frozen=True)
class Comparison:
    """Comparison of several settings on the same data.

    Attributes:
        data: Title of the data.
        metric: The monitored metric.
        settings: The settings, in the order given.
        differences: Of each pair of settings.
        num_rows: Number of test rows that intervals over rows are for; None if there are none.
        without_rows: Why there are no intervals over rows, or not for all settings; empty if they are there.
    """

    data: str
    metric: Metric
    settings: list[ComparedSetting]
    differences: list[Difference]
    num_rows: int | None
    without_rows: str


def compare_runs(paths: Sequence[Path]) -> Comparison:
    """Compare the runs of several settings.

    Args:
        paths: A run directory, or a directory with all runs of a setting, for each setting.

    Raises:
        ConfigError: A directory has no finished runs or those of several settings, or the runs are not comparable.
    """
    if len(paths) < 2:
        raise ConfigError("compare: two or more runs are needed, as: train compare RUN RUN")
    groups = [_read_setting(path) for path in paths]
    if repeated := [str(paths[i]) for i in range(len(paths)) if groups[i][0].path in {g[0].path for g in groups[:i]}]:
        raise ConfigError(f"compare: {join_names(repeated)} given twice")
    data, metric = _find_common_data(paths, groups)
    labels = label_settings(groups) if len({runs[0].setting_key for runs in groups}) > 1 else [""] * len(groups)
    pairs = list(itertools.combinations(range(len(groups)), 2))
    compared = setting_comparison.compare_pairs(groups, pairs, higher_is_better=metric.higher_is_better)
    rows = setting_comparison.resample_rows(groups)
    over_rows = {
        key: compute_percentile_interval(rows.scores[:, key[0]] - (rows.scores[:, key[1]] if key[1:] else 0))
        for key in [*((index,) for index in range(len(groups))), *pairs]
        if not isinstance(rows, str)
    }
    settings = [
        _describe_setting(path, label, runs, over_rows.get((index,)))
        for index, (path, label, runs) in enumerate(zip(paths, labels, groups, strict=True))
    ]
    differences = [
        Difference(pair, _subtract(settings, pair), over_rows.get((pair.first, pair.second))) for pair in compared
    ]
    if isinstance(rows, str):
        return Comparison(data, metric, settings, differences, None, rows)
    reasons = "; ".join(f"{paths[index]}: {text}" for index, text in rows.left_out.items())
    return Comparison(data, metric, settings, differences, rows.num_rows, reasons)


def _subtract(settings: Sequence[ComparedSetting], pair: setting_comparison.ComparedPair) -> float:
    if pair.seeds is not None:
        return pair.seeds.difference
    return settings[pair.first].test - settings[pair.second].test


def _read_setting(path: Path) -> list[FinishedRun]:
    """Read the runs of one setting. Raises ConfigError if there are none, or several settings."""
    if not os.path.isdir(path):
        raise ConfigError(f"compare: no directory: {describe_missing_path(path)}{saved_run.suggest_run_dir(path)}")
    runs = read_runs(path)
    if not runs:
        status = run_dir.read_results(path).get("status")
        reason = f"its run is {status}" if status and status != "finished" else "no finished run with test scores in it"
        raise ConfigError(f"compare: {path}: {reason}")
    groups = group_by_setting(runs)
    if len(groups) > 1:
        raise ConfigError(
            f"compare: {path} has runs of {format_count(len(groups), 'setting')}; name a run, or a directory with the"
            f" seeds of one setting (train report {shlex.quote(str(path))} compares all settings)"
        )
    return groups[0]


def _find_common_data(paths: Sequence[Path], groups: Sequence[list[FinishedRun]]) -> tuple[str, Metric]:
    """Return the title of the data and the metric of all settings. Raises ConfigError if they differ."""
    titles = {id(group): title for title, part in group_by_data(groups) for group in part}
    first = groups[0]
    for path, group in zip(paths[1:], groups[1:], strict=True):
        if (data := group[0].results["data"]) != first[0].results["data"]:
            raise ConfigError(
                f"compare: {paths[0]} has the data {first[0].results['data']} and {path} {data}; scores on different"
                " data are not comparable"
            )
        if group[0].monitor != first[0].monitor:
            raise ConfigError(
                f"compare: {paths[0]} is monitored by {first[0].monitor} and {path} by {group[0].monitor}; scores of"
                f" different metrics are not comparable (monitor={first[0].monitor} trains for it)"
            )
        if titles[id(group)] != titles[id(first)]:
            raise ConfigError(
                f"compare: {paths[0]} has the data {titles[id(first)]} and {path} {titles[id(group)]}; scores on"
                " different data are not comparable"
            )
    metric = first[0].metric
    if metric is None:
        raise ConfigError(f"compare: whether higher is better is unknown for {first[0].monitor}")
    return titles[id(first)], metric


def _describe_setting(
    path: Path, label: str, runs: Sequence[FinishedRun], over_rows: Interval | None
) -> ComparedSetting:
    first, name = runs[0].results, runs[0].monitor
    summary = setting_comparison.summarize_scores(runs)
    has_folds = len({run.replicate_key[1] for run in runs}) > 1
    return ComparedSetting(
        path=str(path),
        model=str(first["model"]),
        label=label,
        seeds=[" fold ".join(run.replicate_key) if has_folds else run.replicate_key[0] for run in runs],
        missing_scores=setting_comparison.count_missing_scores(runs),
        val=statistics.fmean(run.results["val"][name] for run in runs),
        test=summary.mean,
        std=summary.std,
        over_seeds=summary.interval,
        over_rows=over_rows,
        params=first["params"],
        seconds=round(statistics.fmean(run.results["seconds"] for run in runs), 2),
        other_metrics={other: average_score(runs, "test", other) for other in first["test"] if other != name},
    )
