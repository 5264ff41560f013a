"""Runs side by side: mean and spread over seeds and folds, ordered by what was seen on validation rows."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from trainer import atomic, folder
from trainer.errors import ConfigError

UNIMPORTANT = (
    *("seed=", "data.fold=", "resume=", "model=", "data=", "data_dir=", "device=", "threads=", "verbose=", "jobs="),
    "hydra",
)
"""Overrides that do not tell two settings apart, or that have a column of their own."""


NEEDED = {"monitor", "val", "test", "baseline", "best_possible", "overrides", "data", "model", "params", "seconds"}
"""What a file of results must hold to be one of ours."""


@dataclass(frozen=True)
class Entry:
    """All seeds and folds of one setting; a row of the leaderboard, in the order of its fields."""

    data: str
    monitor: str
    model: str
    overrides: str
    runs: int
    val: float
    test: float
    std: float
    baseline: float | None
    best_possible: float | None
    params: int
    seconds: float
    also: str


def collect(path: Path) -> list[Entry]:
    """One entry for each setting among the finished runs below a folder, the best validation score first.

    Choosing by validation and showing the test score keeps the test rows unseen until the end.
    """
    groups: dict[tuple[str, str, tuple[str, ...]], list[Mapping[str, Any]]] = {}
    for file in sorted(path.glob(f"**/{folder.RESULTS}")):
        run = folder.read_results(file.parent)
        # A score that was never a number chose no weights: there is nothing to compare.
        if run.get("status") == "finished" and run.keys() >= NEEDED and run["monitor"] in run["val"]:
            kept = tuple(sorted(text for text in run["overrides"] if not text.startswith(UNIMPORTANT)))
            groups.setdefault((run["data"], run["model"], kept), []).append(run)
    # What all runs have in common tells nothing apart.
    shared = set.intersection(*(set(kept) for _, _, kept in groups)) if len(groups) > 1 else set()
    entries = [_entry([text for text in key[2] if text not in shared], runs) for key, runs in groups.items()]
    return sorted(entries, key=lambda entry: (entry.data, entry.monitor, _badness(entry)))


def _entry(overrides: Iterable[str], runs: Sequence[Mapping[str, Any]]) -> Entry:
    first, name = runs[0], runs[0]["monitor"]
    tests = [run["test"][name] for run in runs]
    others = [other for other in first["test"] if other != name]
    return Entry(
        data=first["data"],
        monitor=name,
        model=first["model"],
        overrides=" ".join(overrides),
        runs=len(runs),
        val=statistics.fmean(run["val"][name] for run in runs),
        test=statistics.fmean(tests),
        std=statistics.stdev(tests) if len(tests) > 1 else 0.0,
        baseline=_mean(run["baseline"].get(name) for run in runs),
        best_possible=_mean(run["best_possible"].get(name) for run in runs),
        params=first["params"],
        seconds=round(statistics.fmean(run["seconds"] for run in runs), 2),
        also=", ".join(f"{other} {_cell(_mean(run['test'].get(other) for run in runs))}" for other in others),
    )


def _mean(scores: Iterable[float | None]) -> float | None:
    """Of the runs that have the score; folds have baselines of their own."""
    known = [score for score in scores if score is not None]
    return statistics.fmean(known) if known else None


def _badness(entry: Entry) -> float:
    from trainer.metrics import direction

    return -entry.val if direction(entry.monitor) == "max" else entry.val


def show(path: Path) -> None:
    """Prints the leaderboard of a folder and saves it there as ``leaderboard.csv`` and ``.md``.

    Raises ConfigError for a folder that is not there.
    """
    if not path.is_dir():
        raise ConfigError(f"no folder {path.absolute()}")
    entries = collect(path)
    if not entries:
        print(f"no finished run in {path}")
        return
    columns = [field.name for field in fields(Entry)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *map(astuple, entries)])
    atomic.write_text(path / "leaderboard.csv", text.getvalue())
    table = [columns, ["---"] * len(columns), *(map(_cell, astuple(entry)) for entry in entries)]
    atomic.write_text(path / "leaderboard.md", "".join(f"| {' | '.join(row)} |\n" for row in table))
    _print(entries, path)


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _print(entries: Sequence[Entry], path: Path) -> None:
    """A table for each data set: scores on different data are not comparable."""
    from rich.table import Table

    from trainer.report import console

    plus_minus = "±" if console.encoding.lower().startswith("utf") else "+/-"
    for data, monitor in dict.fromkeys((entry.data, entry.monitor) for entry in entries):
        mine = [entry for entry in entries if (entry.data, entry.monitor) == (data, monitor)]
        known = (("baseline", mine[0].baseline), ("best possible", mine[0].best_possible))
        context = "".join(f", {name} {_cell(value)}" for name, value in known if value is not None)
        table = Table(title=f"{data}: {monitor}{context}", title_justify="left")
        for name in ("model", "overrides", "runs", "val", "test", "params", "s"):
            left = name in ("model", "overrides")
            table.add_column(name, justify="left" if left else "right", overflow="fold", no_wrap=not left)
        for entry in mine:
            spread = f" {plus_minus} {entry.std:.4f}" if entry.runs > 1 else ""
            test = "\n".join([_cell(entry.test) + spread, *filter(None, entry.also.split(", "))])
            cells = (entry.model, entry.overrides, str(entry.runs), _cell(entry.val), test)
            table.add_row(*cells, str(entry.params), f"{entry.seconds:.1f}")
        console.print(table)
    console.print(f"ordered by validation; saved in {path}/leaderboard.csv and .md", soft_wrap=True)
