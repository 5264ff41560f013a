"""Runs side by side: mean and spread over seeds, ordered by what was seen on validation rows."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import folder
from trainer.errors import ConfigError

COLUMNS = (
    "place",
    "setting",
    "monitor",
    "seeds",
    "val",
    "test",
    "std",
    "baseline",
    "best_possible",
    "params",
    "seconds",
)


@dataclass(frozen=True)
class Entry:
    """All seeds of one setting."""

    setting: str
    monitor: str
    seeds: int
    val: float
    test: float
    std: float
    baseline: float | None
    best_possible: float | None
    params: int
    seconds: float


def collect(path: Path) -> list[Entry]:
    """One entry for each setting among the finished runs below a folder, best validation score first.

    Choosing by validation and showing the test score keeps the test rows unseen until the end.
    """
    runs = [folder.read_results(file.parent) for file in sorted(path.glob(f"**/{folder.RESULTS}"))]
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for run in runs:
        if run.get("status") == "finished":
            groups.setdefault(_setting(run), []).append(run)
    # What all runs have in common tells nothing apart.
    shared = set.intersection(*map(set, groups)) if len(groups) > 1 else set()
    entries = [
        _entry(" ".join(part for part in setting if part not in shared), members) for setting, members in groups.items()
    ]
    return sorted(entries, key=lambda entry: (entry.monitor, -_goodness(entry)))


def _setting(run: Mapping[str, Any]) -> tuple[str, ...]:
    """The options and overrides of a run, its seed and what does not change the training left out."""
    chosen = [f"model={run['model']}", f"data={run['data']}"]
    ignored = ("seed=", "resume=", "model=", "data=", "data_dir=", "device=", "threads=", "verbose=", "hydra")
    return (*chosen, *sorted(text for text in run["overrides"] if not text.startswith(ignored)))


def _entry(setting: str, runs: Sequence[Mapping[str, Any]]) -> Entry:
    name = runs[0]["monitor"]
    tests = [run["test"][name] for run in runs]
    return Entry(
        setting=setting,
        monitor=name,
        seeds=len(runs),
        val=statistics.fmean(run["val"][name] for run in runs),
        test=statistics.fmean(tests),
        std=statistics.stdev(tests) if len(tests) > 1 else 0.0,
        baseline=runs[0]["baseline"].get(name),
        best_possible=runs[0]["best_possible"].get(name),
        params=runs[0]["params"],
        seconds=statistics.fmean(run["seconds"] for run in runs),
    )


def _goodness(entry: Entry) -> float:
    from trainer.metrics import direction

    return entry.val if direction(entry.monitor) == "max" else -entry.val


def rows(entries: Sequence[Entry]) -> list[list[str]]:
    """The entries as text, a row each, in the order of COLUMNS."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    return [
        [
            *(str(place), entry.setting, entry.monitor, str(entry.seeds), number(entry.val), number(entry.test)),
            *(number(entry.std), number(entry.baseline), number(entry.best_possible)),
            *(str(entry.params), f"{entry.seconds:.1f}"),
        ]
        for place, entry in enumerate(entries, start=1)
    ]


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
    body = rows(entries)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *body])
    folder.write_text(path / "leaderboard.csv", text.getvalue())
    lines = [" | ".join(row) for row in (list(COLUMNS), ["---"] * len(COLUMNS), *body)]
    folder.write_text(path / "leaderboard.md", "".join(f"| {line} |\n" for line in lines))
    _print(entries, path)


def _print(entries: Sequence[Entry], path: Path) -> None:
    from rich.table import Table

    from trainer.report import console

    table = Table(title="leaderboard (ordered by validation)", title_justify="left")
    for name in ("", "setting", "score", "seeds", "val", "test", "baseline", "best possible", "params", "s"):
        table.add_column(name, justify="left" if name in ("setting", "score") else "right")
    for row, entry in zip(rows(entries), entries, strict=True):
        place, setting, monitor, seeds, val, test, std, baseline, best, params, seconds = row
        spread = f" ± {std}" if entry.seeds > 1 else ""
        table.add_row(place, setting, monitor, seeds, val, test + spread, baseline, best, params, seconds)
    console.print(table)
    console.print(f"saved in {path}/leaderboard.csv and .md", soft_wrap=True)
