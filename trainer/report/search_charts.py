"""Charts of a search: best score so far, a slice for each key, and parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from trainer.report.line_chart import Chart, Line
from trainer.report.parallel_coordinates import Coordinate, draw_parallel_coordinates

LOG_RATIO = 30.0
"""Ratio of the largest to the smallest value of a key above which its axis is logarithmic."""
MAX_COORDINATES = 8
"""Largest number of keys in the parallel coordinates."""


def make_progress_charts(search: Mapping[str, Any], metric: str) -> list[Chart]:
    """Return the charts of the best score so far, against steps and against seconds of all runs together.

    Args:
        search: Contents of ``search.json``.
        metric: Label of the monitored metric.
    """
    best, steps, seconds = math.nan, 0.0, 0.0
    points: list[tuple[float, float, float]] = []
    for score, own_steps, own_seconds in _iter_parts(search):
        steps, seconds = steps + own_steps, seconds + own_seconds
        if math.isfinite(score):
            is_better = not math.isfinite(best) or (score > best) == bool(search.get("higher_is_better"))
            best = score if is_better else best
        points.append((steps, seconds, best))
    name = f"best validation {metric} so far"
    charts = [
        Chart(name, "steps of all runs", [Line(name, [(point[0], point[2]) for point in points])]),
        Chart(name, "seconds of training", [Line(name, [(point[1], point[2]) for point in points])]),
    ]
    return [chart for chart in charts if chart.has_points and len(points) > 1]


def _iter_parts(search: Mapping[str, Any]) -> Iterator[tuple[float, float, float]]:
    """Yield score, steps and seconds of each part of a run between two pauses, by rung and number.

    The seconds of a run are divided in proportion to its steps.
    """
    trials = {trial["number"]: trial for trial in search["trials"]}
    stages = search.get("stages") or [{"rung": 0, "trials": sorted(trials)}]
    done: dict[int, int] = {}
    for stage in stages:
        for number in stage["trials"]:
            trial = trials.get(number)
            if trial is None or len(trial["scores"]) <= stage["rung"]:
                continue
            pauses = [*trial["pauses"], trial["total_steps"] or trial["steps"]]
            end = pauses[min(stage["rung"], len(pauses) - 1)]
            steps = max(0, min(end, trial["steps"]) - done.get(number, 0))
            done[number] = done.get(number, 0) + steps
            yield to_number(trial["scores"][stage["rung"]]), steps, trial["seconds"] * steps / max(1, trial["steps"])


def make_slices(search: Mapping[str, Any], metric: str) -> list[Chart]:
    """Return a chart for each key: the score of each trial at the first rung, where all can be compared.

    Args:
        search: Contents of ``search.json``.
        metric: Label of the monitored metric.
    """
    scored = [trial for trial in search["trials"] if get_first_score(trial) is not None]
    charts = []
    for key in list_keys(search):
        trials = [trial for trial in scored if key in trial["values"]]
        values, names = to_positions([trial["values"][key] for trial in trials])
        points = [(value, get_first_score(trial) or 0.0) for value, trial in zip(values, trials, strict=True)]
        if len(set(values)) > 1:
            line = Line(f"validation {metric}", points)
            charts.append(
                Chart(key, key, [line], is_scatter=True, is_x_log=not names and _is_wide(values), x_names=names)
            )
    return [chart for chart in charts if chart.has_points]


def draw_coordinates(search: Mapping[str, Any], metric: str) -> Markup | None:
    """Return the parallel coordinates of the trials with a score; None for fewer than two of them.

    Args:
        search: Contents of ``search.json``.
        metric: Label of the monitored metric.
    """
    trials = [trial for trial in search["trials"] if get_first_score(trial) is not None]
    keys = list_keys(search)[:MAX_COORDINATES]
    if len(trials) < 2 or not keys:
        return None
    scores = [get_first_score(trial) or 0.0 for trial in trials]
    coordinates = [_make_coordinate(key, trials) for key in keys]
    coordinates.append(Coordinate(f"val {metric}", scores))
    sign = -1 if search.get("higher_is_better") else 1
    order = sorted(range(len(trials)), key=lambda index: sign * scores[index])
    ranks = [0] * len(trials)
    for rank, index in enumerate(order):
        ranks[index] = rank
    best = ", ".join(f"{key} {value}" for key, value in trials[order[0]]["values"].items())
    return draw_parallel_coordinates(
        coordinates, ranks, f"{len(trials)} trials across {', '.join(keys)} and the score; the best one has {best}"
    )


def _make_coordinate(key: str, trials: Sequence[Mapping[str, Any]]) -> Coordinate:
    owners = [index for index, trial in enumerate(trials) if key in trial["values"]]
    known, names = to_positions([trials[index]["values"][key] for index in owners])
    values = [math.nan] * len(trials)
    for index, value in zip(owners, known, strict=True):
        values[index] = value
    return Coordinate(key, values, names, is_log=not names and _is_wide(known))


def list_keys(search: Mapping[str, Any]) -> list[str]:
    """Return the keys that differ between the trials, the most important first."""
    keys = dict.fromkeys(key for trial in search["trials"] for key in trial["values"])
    shares = (search.get("importance") or {}).get("shares") or {}
    return sorted(keys, key=lambda key: -shares.get(key, 0.0))


def get_first_score(trial: Mapping[str, Any]) -> float | None:
    """Return the score of a trial at the first rung; None if there is none."""
    score = to_number(trial["scores"][0]) if trial["scores"] else math.nan
    return score if math.isfinite(score) else None


def to_number(value: object) -> float:
    """Return a saved score; NaN for null."""
    return float(value) if isinstance(value, int | float) else math.nan


def to_positions(texts: Sequence[str]) -> tuple[list[float], list[str]]:
    """Return values as numbers; if any of them is none, their positions, with the names of these.

    Args:
        texts: Values as on a command line.
    """
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        names = list(dict.fromkeys(texts))
        return [float(names.index(text)) for text in texts], names
    return numbers, []


def _is_wide(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) / min(values) > LOG_RATIO
