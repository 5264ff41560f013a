"""Contents of the page of a search."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trainer.core.types import NonNegativeFloat, NonNegativeInt, Number, find_mismatches
from trainer.report.line_chart import draw_chart
from trainer.report.search_charts import draw_coordinates, list_keys, make_progress_charts, make_slices, to_number
from trainer.report.write_page import REPORT_FILE
from trainer.search import search_files
from trainer.utils.errors import ConfigError
from trainer.utils.text import escape_control_chars
from trainer.viz.score_tables import format_metric_name, format_number

MAX_PROBLEMS = 3
Items = list[dict[str, object]]
RECORD_TYPES: Mapping[str, Any] = {
    "monitor": str,
    "trials": Items,
    "finalists": Items | None,
    "stages": Items | None,
    "importance": dict[str, object] | None,
    "command": str | None,
    "working_dir": str | None,
    "rows_note": str | None,
    "options": dict[str, object] | None,
    "space": list[str] | None,
    "steps": NonNegativeInt | None,
    "seconds": NonNegativeFloat | None,
}
"""Types of what the page reads from the record of a search."""
Scores = list[Number | None]
ITEM_TYPES: Mapping[str, Mapping[str, Any]] = {
    "trials": {
        **{"number": int, "status": str, "values": dict[str, str], "scores": Scores},
        **{"pauses": list[int], "total_steps": int | None, "steps": NonNegativeInt, "seconds": NonNegativeFloat},
        **{"test": dict[str, Number | None], "reason": str | None, "run_dir": str | None},
    },
    "stages": {"rung": int, "trials": list[int]},
    "finalists": {"number": int, "values": dict[str, str], "val": Scores, "test": Scores},
}
"""Types of the items of its lists."""
NO_SCORE = "it has no score that is a number"
"""Reason of a run of a finalist that counts as failed although it has ended as planned."""


def make_search_page(path: Path, page_dir: Path | None = None) -> dict[str, Any]:
    """Return the contents of the page of a search, for its template.

    Args:
        path: Directory of the search.
        page_dir: Directory of the page, which its links are relative to; None for the same.

    Raises:
        ConfigError: The record of the search is damaged.
    """
    search = search_files.read_search(path)
    problems = [
        problem for key, kind in RECORD_TYPES.items() for problem in find_mismatches(search.get(key), kind, key)
    ]
    problems = problems or _find_missing_keys(search)
    if problems:
        file = path / search_files.SEARCH_FILE
        raise ConfigError(f"{file} is not the record of a search: {'; '.join(problems[:MAX_PROBLEMS])}")
    metric = format_metric_name(search["monitor"])
    keys = list_keys(search)
    num_rungs = max((len(trial["scores"]) for trial in search["trials"]), default=0)
    finalists = [_describe_finalist(finalist) for finalist in search.get("finalists") or []]
    importance = search.get("importance") or {}
    return {
        "title": f"Search in {escape_control_chars(str(path), one_line=True)}",
        "verdict": _write_verdict(finalists, metric),
        "metric": metric,
        "command": search.get("command") or "",
        "working_dir": escape_control_chars(search.get("working_dir") or "", one_line=True),
        "space": search.get("space") or [],
        "options": [(key, value) for key, value in (search.get("options") or {}).items() if value is not None],
        "counts": _count_trials(search["trials"]),
        "steps": search.get("steps", 0),
        "seconds": f"{search.get('seconds', 0.0):.0f}",
        "rows_note": search.get("rows_note") or "",
        "finalists": finalists,
        "has_failed_seeds": any(finalist["failed"] for finalist in finalists),
        "importance": [(key, round(100 * share)) for key, share in (importance.get("shares") or {}).items()],
        "importance_note": _describe_importance(importance),
        "progress": [(chart, draw_chart(chart)) for chart in make_progress_charts(search, metric)],
        "slices": [(chart, draw_chart(chart)) for chart in make_slices(search, metric)],
        "coordinates": draw_coordinates(search, metric),
        "note": _describe_scores(search),
        "keys": keys,
        "rungs": _name_rungs(search, num_rungs),
        "has_reasons": any(trial.get("reason") for trial in search["trials"]),
        "trials": [
            _describe_trial(trial, keys, num_rungs, search, (path, page_dir or path)) for trial in search["trials"]
        ],
    }


def _find_missing_keys(search: Mapping[str, Any]) -> list[str]:
    """Return the problems of the trials, stages and finalists of a search."""
    return [
        problem
        for group, kinds in ITEM_TYPES.items()
        for index, item in enumerate(search.get(group) or [])
        for key, kind in kinds.items()
        for problem in find_mismatches(item.get(key), kind, f"{group}.{index}.{key}")
    ]


def _count_trials(trials: Sequence[Mapping[str, Any]]) -> str:
    """Return the number of trials, and how many of them have failed or were refused."""
    counts = Counter(trial["status"] for trial in trials)
    bad = ", ".join(f"{counts[status]} {status}" for status in ("failed", "refused") if counts[status])
    return f"{len(trials)} configurations{f' ({bad})' if bad else ''}"


def _describe_scores(search: Mapping[str, Any]) -> str:
    """Return what the scores of paused runs mean; empty for a search that pauses none."""
    note = search.get("score_note")
    return f"Scores before the end of a run: {note}." if note else ""


def _name_rungs(search: Mapping[str, Any], num_rungs: int) -> list[str]:
    longest = max(search["trials"], key=lambda trial: len(trial["scores"]), default=None)
    ends = [] if longest is None else [*longest["pauses"], longest["total_steps"]]
    return [f"at step {ends[rung]}" if rung < len(ends) and ends[rung] else "at the end" for rung in range(num_rungs)]


def _describe_finalist(finalist: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": finalist["number"],
        "values": " ".join(f"{key}={value}" for key, value in finalist["values"].items()),
        "seeds": len(finalist["val"]),
        "failed": _list_failed_seeds(finalist),
        **{split: _format_mean(finalist[split]) for split in ("val", "test")},
    }


def _list_failed_seeds(finalist: Mapping[str, Any]) -> list[str]:
    """Return the seeds of a finalist that have failed, each with its reason."""
    count, replicates = finalist.get("num_failed"), finalist.get("replicates")
    if not isinstance(count, int) or not isinstance(replicates, list):
        return []  # searches of older versions did not record them
    runs = [(run.get("seed"), run.get("reason")) for run in replicates if isinstance(run, dict)]
    failed = [
        f"seed {seed}: {escape_control_chars(reason, one_line=True)}"
        for seed, reason in runs
        if reason and isinstance(reason, str) and isinstance(seed, int)
    ]
    others = count - len(failed)
    return failed + ([f"{others} seed{'s' if others != 1 else ''}: {NO_SCORE}"] if others > 0 else [])


def _format_mean(scores: Sequence[Any]) -> str:
    numbers = [to_number(score) for score in scores]
    if not numbers:
        return ""
    spread = f" ± {format_number(statistics.stdev(numbers))}" if len(numbers) > 1 else ""
    return f"{format_number(statistics.fmean(numbers))}{spread}"


def _write_verdict(finalists: Sequence[Mapping[str, Any]], metric: str) -> str:
    if not finalists:
        return "No configuration has been trained to the end yet."
    best = finalists[0]
    seeds = f"{best['seeds']} seed{'' if best['seeds'] == 1 else 's'}"
    test = f"; test {metric} {best['test']}, which had no part in the choice" if best["test"] else ""
    return f"Best: {best['values'] or 'the only configuration'}, validation {metric} {best['val']} over {seeds}{test}."


def _describe_importance(importance: Mapping[str, Any]) -> str:
    if importance.get("reason"):
        return f"No importance of the keys: {importance['reason']}"
    if not importance.get("shares"):
        return ""
    scores = f"{importance.get('num_scores')} scores at step {importance.get('step')}"
    explained = importance.get("explained") or 0
    return f"Permutation importance of a random forest that explains {explained:.0%} of the order of {scores}."


def _describe_trial(
    trial: Mapping[str, Any], keys: Sequence[str], num_rungs: int, search: Mapping[str, Any], places: tuple[Path, Path]
) -> dict[str, Any]:
    """Return the cells of a trial; ``places`` are the directories of the search and of the page."""
    scores = [format_number(to_number(score)) if score is not None else "" for score in trial["scores"]]
    test = trial["test"].get(search["monitor"])
    run_dir, root = trial.get("run_dir") or "", places[1]
    # The search may have been moved, and the page may be written from elsewhere; a reused run is in another directory.
    own = places[0] / Path(run_dir).name
    page = (own if own.is_dir() else Path(search.get("working_dir") or "", run_dir)) / REPORT_FILE
    return {
        "number": trial["number"],
        "status": trial["status"],
        "values": [trial["values"].get(key, "") for key in keys],
        "scores": [*scores, *[""] * (num_rungs - len(scores))],
        "test": "" if test is None else format_number(test),
        "steps": trial["steps"],
        "seconds": f"{trial['seconds']:.1f}",
        "reason": escape_control_chars(trial.get("reason") or "", one_line=True),
        "page": quote(os.path.relpath(page, root)) if run_dir and page.is_file() else "",
    }
