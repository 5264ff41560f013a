"""Leaderboard: scores over seeds and folds with intervals and verdicts, ranked by the validation score."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from trainer.runs import dataset_ranks, saved_run
from trainer.runs.finished_runs import read_runs
from trainer.runs.leaderboard_entries import Entry, RankedTable, build_tables, format_interval
from trainer.utils import atomic_write
from trainer.utils.csv_lines import make_csv_writer
from trainer.utils.errors import ConfigError
from trainer.utils.paths import describe_missing_path
from trainer.utils.text import escape_control_chars, escape_markdown, format_count
from trainer.viz.console import console, print_line
from trainer.viz.score_tables import format_metric_name, format_number, new_table

NUMERIC_COLUMNS_WIDTH = 38
"""Width of the numeric columns, without those of test scores."""
MIN_MODEL_WIDTH = 6


def show_leaderboard(path: Path) -> None:
    """Print the leaderboard of a directory, and save it there as ``leaderboard.csv`` and ``.md``.

    Raises:
        ConfigError: The directory does not exist.
        SystemFault: The leaderboard was printed but cannot be saved.
    """
    if not os.path.isdir(path):
        raise ConfigError(f"no directory: {describe_missing_path(path)}{saved_run.suggest_run_dir(path)}")
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
    tests = max(len(line) for entry in entries for line in _format_test_lines(entry))
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
        test = "\n".join(_format_test_lines(entry))
        names = (entry.model, entry.overrides) if has_labels else (entry.model,)
        cells = (str(entry.runs), _format_cell(entry.val), test, f"{entry.params:,}", f"{entry.seconds:.1f}")
        table.add_row(*names, *cells)
    return table


def _format_test_lines(entry: Entry) -> list[str]:
    """Format the test scores of an entry, with the interval over seeds."""
    return [_format_test_score(entry), *_format_seed_interval(entry), *_format_other_metrics(entry)]


def _format_seed_interval(entry: Entry) -> list[str]:
    return [] if entry.seeds_low is None else [f"95 %: {format_interval(entry.seeds_low, entry.seeds_high)}"]


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
    lines += [f"{text} over seeds" for text in _format_seed_interval(entry)]
    lines += [", ".join(_format_other_metrics(entry)), f"{params}, {entry.seconds:.1f} s"]
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(overflow="fold")
    grid.add_row(f"{rank}.", "\n".join(filter(None, lines)))
    console.print(grid)
