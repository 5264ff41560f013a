"""Leaderboard: scores over seeds and folds with intervals and verdicts, ranked by the validation score."""

from __future__ import annotations

import io
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from trainer.core.metric import Metric
from trainer.runs import dataset_ranks, setting_comparison, setting_verdicts
from trainer.runs.finished_runs import FinishedRun, read_runs
from trainer.runs.run_groups import average_score, group_by_data, group_by_setting, label_settings
from trainer.stats.confidence_interval import compute_mean_interval
from trainer.stats.row_bootstrap import compute_percentile_interval
from trainer.utils import atomic_write
from trainer.utils.csv_lines import make_csv_writer
from trainer.utils.errors import ConfigError
from trainer.utils.text import escape_control_chars, escape_markdown, format_count
from trainer.viz.console import console, print_line
from trainer.viz.score_tables import format_metric_name, format_number, new_table

NUMERIC_COLUMNS_WIDTH = 38
"""Width of the numeric columns, without those of test scores."""
MIN_MODEL_WIDTH = 6


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


def build_entries(finished: Sequence[FinishedRun]) -> list[Entry]:
    """Build one entry for each setting among finished runs, best validation score first."""
    return [entry for table in build_tables(finished) for entry in table.entries]


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
    rows = setting_comparison.resample_rows(settings)
    compared = []
    for index, (entry, runs) in enumerate(zip(entries, settings, strict=True)):
        seeds = compute_mean_interval(list(setting_comparison.get_test_scores(runs).values()))
        over_rows = None if isinstance(rows, str) else compute_percentile_interval(rows.scores[:, index])
        judgment = pairs[index - 1].judgment if index and pairs else None
        verdict = "" if judgment is None else setting_verdicts.describe_second(judgment)
        (seeds_low, seeds_high), (rows_low, rows_high) = seeds or (None, None), over_rows or (None, None)
        compared.append(
            replace(
                entry,
                seeds_low=seeds_low,
                seeds_high=seeds_high,
                rows_low=rows_low,
                rows_high=rows_high,
                verdict=verdict,
            )
        )
    return RankedTable(compared, settings, lines)


def _label_entries(entries: Sequence[Entry]) -> list[str]:
    """Return short labels that tell the settings of a table apart."""
    if len({entry.model for entry in entries}) > 1 or not all(entry.overrides for entry in entries):
        return [f"{entry.model} {entry.overrides}".rstrip() for entry in entries]
    return [entry.overrides for entry in entries]


def _build_entry(data: str, label: str, runs: Sequence[FinishedRun]) -> Entry:
    first, name = runs[0].results, runs[0].monitor
    tests = [run.results["test"][name] for run in runs]
    other_names = [other_name for other_name in first["test"] if other_name != name]
    return Entry(
        data=data,
        monitor=name,
        model=first["model"],
        overrides=label,
        runs=len(runs),
        val=statistics.fmean(run.results["val"][name] for run in runs),
        test=statistics.fmean(tests),
        std=statistics.stdev(tests) if len(tests) > 1 else None,
        baseline=average_score(runs, "baseline", name),
        best_possible=average_score(runs, "best_possible", name),
        params=first["params"],
        seconds=round(statistics.fmean(run.results["seconds"] for run in runs), 2),
        other_metrics={other_name: average_score(runs, "test", other_name) for other_name in other_names},
    )


def _sort_key(entry: Entry, metric: Metric | None) -> float:
    return -entry.val if metric is not None and metric.higher_is_better else entry.val


def show_leaderboard(path: Path) -> None:
    """Print the leaderboard of a directory, and save it there as ``leaderboard.csv`` and ``.md``.

    Raises:
        ConfigError: The directory does not exist.
        SystemFault: The leaderboard was printed but cannot be saved.
    """
    if not os.path.isdir(path):
        raise ConfigError(f"no directory {path.absolute()}")
    runs = read_runs(path)
    tables = build_tables(runs)
    entries = [entry for table in tables for entry in table.entries]
    if not entries:
        print_line(f"no finished run in {path}")
        return
    _print_tables(tables)
    dataset_ranks.show_ranks([table.settings for table in tables], path)
    if num_replaced := len(runs) - sum(entry.runs for entry in entries):
        print_line(
            f"{num_replaced} of {format_count(len(runs), 'run')} left out: replaced by newer runs with the same seed"
        )
    _save_tables(entries, path)
    print_line(f"ordered by validation; saved in {path}/leaderboard.csv and .md")


def _save_tables(entries: Sequence[Entry], path: Path) -> None:
    columns = [field.name for field in fields(Entry)]
    cells = [_list_cells(entry) for entry in entries]
    text = io.StringIO()
    make_csv_writer(text).writerows([columns, *cells])
    atomic_write.write_text(path / "leaderboard.csv", text.getvalue())
    rows = [[escape_markdown(_format_cell(value)) for value in row] for row in cells]
    table = [columns, ["---"] * len(columns), *rows]
    atomic_write.write_text(path / "leaderboard.md", "".join(f"| {' | '.join(row)} |\n" for row in table))


def _list_cells(entry: Entry) -> list[Any]:
    """Return the cells of a row of the saved tables, with the other metrics as text."""
    metrics = ", ".join(f"{name} {_format_cell(value)}" for name, value in entry.other_metrics.items())
    cells = {field.name: getattr(entry, field.name) for field in fields(Entry)}
    return list((cells | {"other_metrics": metrics}).values())


def _format_cell(value: Any) -> str:
    return "" if value is None else format_number(value) if isinstance(value, float) else str(value)


def _print_tables(tables: Sequence[RankedTable]) -> None:
    """Print one table for each data set: scores on different data are not comparable."""
    for ranked in tables:
        group = ranked.entries
        data, monitor = group[0].data, group[0].monitor
        references = (("baseline", group[0].baseline), ("best possible", group[0].best_possible))
        context = "".join(f", {name} {_format_cell(value)}" for name, value in references if value is not None)
        print_line(f"{data}: {format_metric_name(monitor)}{context}")
        if not _fits_width(group, console.width):
            for rank, entry in enumerate(group, 1):
                _print_stacked(rank, entry)
        else:
            console.print(_build_table(group))
        for line in ranked.lines:
            console.print(Text(escape_control_chars(line)), overflow="fold")


def _fits_width(entries: Sequence[Entry], width: int) -> bool:
    """Return whether a table of these entries breaks no word."""
    words = max(len(word) for entry in entries for word in [*entry.overrides.split(" "), ""])
    models = max(MIN_MODEL_WIDTH, *(len(entry.model) for entry in entries))
    tests = max(len(line) for entry in entries for line in [_format_test_score(entry), *_format_other_metrics(entry)])
    return words + models + tests + NUMERIC_COLUMNS_WIDTH <= width


def _build_table(entries: Sequence[Entry]) -> Table:
    table = new_table(None)
    has_labels = any(entry.overrides for entry in entries)
    table.add_column("model", overflow="fold", min_width=MIN_MODEL_WIDTH)
    if has_labels:
        table.add_column("setting", overflow="fold", min_width=16)
    for name in ("runs", "val", "test", "params", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in entries:
        test = "\n".join([_format_test_score(entry), *_format_other_metrics(entry)])
        names = (entry.model, entry.overrides) if has_labels else (entry.model,)
        cells = (str(entry.runs), _format_cell(entry.val), test, f"{entry.params:,}", f"{entry.seconds:.1f}")
        table.add_row(*names, *cells)
    return table


def _format_other_metrics(entry: Entry) -> list[str]:
    """Format the scores other than the monitored one."""
    return [f"{format_metric_name(name)} {_format_cell(value)}" for name, value in entry.other_metrics.items()]


def _format_test_score(entry: Entry) -> str:
    plus_minus = "±" if console.encoding.lower().startswith("utf") else "+/-"
    return _format_cell(entry.test) + ("" if entry.std is None else f" {plus_minus} {_format_cell(entry.std)}")


def _print_stacked(rank: int, entry: Entry) -> None:
    """Print an entry on several lines, for narrow terminals."""
    runs, params = format_count(entry.runs, "run"), format_count(entry.params, "parameter")
    lines = [
        f"{entry.model} {entry.overrides}".rstrip(),
        f"val {_format_cell(entry.val)}, test {_format_test_score(entry)}, {runs}",
    ]
    lines += [", ".join(_format_other_metrics(entry)), f"{params}, {entry.seconds:.1f} s"]
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(overflow="fold")
    grid.add_row(f"{rank}.", "\n".join(filter(None, lines)))
    console.print(grid)
