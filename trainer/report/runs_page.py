"""Contents of the page of a directory of runs: a table for each data set, verdicts, and the runs of each setting."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.report.embedded_images import embed_images
from trainer.report.line_chart import Chart, Line, draw_chart
from trainer.report.write_page import REPORT_FILE
from trainer.runs import dataset_ranks, run_dir
from trainer.runs.finished_runs import FinishedRun, read_runs
from trainer.runs.leaderboard_entries import Entry, RankedTable, build_tables, format_interval
from trainer.runs.run_files import find_run_files
from trainer.utils.text import escape_control_chars
from trainer.viz.score_tables import format_metric_name, format_number

MAX_UNFINISHED = 200
"""Largest number of unfinished runs that the page lists."""


@dataclass(frozen=True)
class RunLink:
    """A run of a setting.

    Args:
        path: Its directory, relative to the page.
        replicate: Seed, and fold if there is one.
        test: Test score, as text.
        page: Address of its own page; empty if it has none.
    """

    path: str
    replicate: str
    test: str
    page: str


def make_runs_page(path: Path, page_dir: Path | None = None) -> dict[str, Any]:
    """Return the contents of the page of a directory, for its template.

    Args:
        path: Directory with runs at any depth.
        page_dir: Directory of the page, which its links are relative to; None for the same.
    """
    page_dir = page_dir or path
    runs = read_runs(path)
    tables = build_tables(runs)
    ranks = path / dataset_ranks.PLOT_FILE
    images, _ = embed_images([ranks] if ranks.exists() and len(tables) > 1 else [])
    return {
        "title": f"Runs in {escape_control_chars(str(path), one_line=True)}",
        "num_runs": len(runs),
        "tables": [_describe_table(table, page_dir, index) for index, table in enumerate(tables)],
        "ranks": images,
        "unfinished": _list_unfinished(path),
    }


def _describe_table(table: RankedTable, root: Path, index: int) -> dict[str, Any]:
    first = table.entries[0]
    references = [("baseline", first.baseline), ("best possible", first.best_possible)]
    other_metrics = list(first.other_metrics)
    return {
        "id": f"data-{index}",
        "data": first.data,
        "metric": format_metric_name(first.monitor),
        "references": [(name, format_number(value)) for name, value in references if value is not None],
        "lines": table.lines,
        "other_metrics": [format_metric_name(name) for name in other_metrics],
        "has_spread": any(entry.std is not None for entry in table.entries),
        "has_verdicts": any(entry.verdict for entry in table.entries),
        "rows": [
            _describe_entry(entry, runs, root, other_metrics)
            for entry, runs in zip(table.entries, table.settings, strict=True)
        ],
        "charts": [(chart, draw_chart(chart)) for chart in _make_charts(table)],
    }


def _describe_entry(
    entry: Entry, runs: Sequence[FinishedRun], root: Path, other_metrics: Sequence[str]
) -> dict[str, Any]:
    others = [entry.other_metrics.get(name) for name in other_metrics]
    return {
        "label": f"{entry.model} {entry.overrides}".rstrip(),
        "num_runs": entry.runs,
        "val": format_number(entry.val),
        "test": format_number(entry.test),
        "std": "" if entry.std is None else format_number(entry.std),
        "interval": format_interval(entry.seeds_low, entry.seeds_high),
        "verdict": entry.verdict,
        "others": ["" if value is None else format_number(value) for value in others],
        "params": f"{entry.params:,}",
        "seconds": f"{entry.seconds:.1f}",
        "runs": [_link_run(run, root) for run in runs],
    }


def _link_run(run: FinishedRun, root: Path) -> RunLink:
    path = os.path.relpath(run.path, root)
    page = Path(run.path, REPORT_FILE)
    seed, fold = run.replicate_key
    replicate = f"seed {seed}" if fold == "None" else f"seed {seed}, fold {fold}"
    score = format_number(run.results["test"][run.monitor])
    return RunLink(
        escape_control_chars(path, one_line=True), replicate, score, _quote(f"{path}/{REPORT_FILE}") * page.is_file()
    )


def _quote(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


def _make_charts(table: RankedTable) -> list[Chart]:
    """Return charts of the test score against size and time; empty if there is nothing to compare."""
    name = f"test {format_metric_name(table.entries[0].monitor)}"
    charts = []
    for x_label, values in (
        ("parameters", [float(entry.params) for entry in table.entries]),
        ("seconds of training", [entry.seconds for entry in table.entries]),
    ):
        points = sorted(zip(values, [entry.test for entry in table.entries], strict=True))
        if len(set(values)) > 1:
            charts.append(Chart(f"{name} against {x_label}", x_label, [Line(name, points)], is_scatter=True))
    return [chart for chart in charts if chart.has_points]


def _list_unfinished(path: Path) -> list[tuple[str, str, str]]:
    """Return path, status and reason of runs that are not finished."""
    rows: list[tuple[str, str, str]] = []
    for file in sorted(find_run_files(path, [run_dir.RESULTS_FILE])):
        results: Mapping[str, Any] = run_dir.read_results(file.parent)
        status = str(results.get("status", "unreadable"))
        if status != "finished" and len(rows) < MAX_UNFINISHED:
            reason = escape_control_chars(str(results.get("reason") or ""), one_line=True)
            rows.append((escape_control_chars(os.path.relpath(file.parent, path), one_line=True), status, reason))
    return rows
