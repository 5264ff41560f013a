"""Parallel coordinates of the trials of a search: one line for each trial, across an axis for each key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from trainer.report.chart_axis import Axis

HEIGHT, MARGIN, AXIS_WIDTH = 260.0, 70.0, 130.0
"""Height, margin and distance of the axes in the units of the chart."""
TOP, BOTTOM = 34.0, 14.0
BEST_SHARE = 0.1
"""Share of the trials that are drawn as the best ones."""
LABEL_LENGTH = 14
"""Characters of a label."""


@dataclass(frozen=True)
class Coordinate:
    """An axis: a key of the space, or the score.

    Args:
        name: Its name.
        values: Value of each trial; NaN for one that does not have the key.
        names: Names of the values 0, 1, ..., if they are no numbers.
        is_log: Whether the axis is logarithmic.
    """

    name: str
    values: Sequence[float]
    names: Sequence[str] = ()
    is_log: bool = False


def draw_parallel_coordinates(coordinates: Sequence[Coordinate], ranks: Sequence[int], description: str) -> Markup:
    """Return the chart as an SVG element; a line is interrupted where a trial does not have a key.

    Args:
        coordinates: The axes, from left to right.
        ranks: Rank of each trial, 0 for the best one.
        description: Description for readers that do not see it.
    """
    width = 2 * MARGIN + AXIS_WIDTH * max(1, len(coordinates) - 1)
    axes = [_make_axis(coordinate) for coordinate in coordinates]
    num_best = max(1, math.ceil(BEST_SHARE * len(ranks)))
    order = sorted(range(len(ranks)), key=lambda trial: -ranks[trial])  # the best ones are drawn on top
    head = Markup('<svg class="parallel" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">')
    parts = [head.format(width, HEIGHT, description)]
    for trial in order:
        css = "best" if ranks[trial] < num_best else "other"
        parts += _draw_trial(trial, css, coordinates, axes)
    for position, (coordinate, axis) in enumerate(zip(coordinates, axes, strict=True)):
        parts += _draw_axis(MARGIN + AXIS_WIDTH * position, coordinate, axis)
    return Markup("").join([*parts, Markup("</svg>")])


def _make_axis(coordinate: Coordinate) -> Axis:
    known = [value for value in coordinate.values if math.isfinite(value)] or [0.0]
    return Axis.make(known, HEIGHT - BOTTOM, TOP, is_log=coordinate.is_log, names=coordinate.names)


def _draw_trial(trial: int, css: str, coordinates: Sequence[Coordinate], axes: Sequence[Axis]) -> list[Markup]:
    segments: list[list[str]] = [[]]
    for position, (coordinate, axis) in enumerate(zip(coordinates, axes, strict=True)):
        value = coordinate.values[trial]
        if math.isfinite(value):
            segments[-1].append(f"{MARGIN + AXIS_WIDTH * position:g},{axis.place(value):.1f}")
        elif segments[-1]:
            segments.append([])
    line = Markup('<polyline class="{}" points="{}"/>')
    return [line.format(css, " ".join(segment)) for segment in segments if len(segment) > 1]


def _draw_axis(x: float, coordinate: Coordinate, axis: Axis) -> list[Markup]:
    line = Markup('<line class="axis" x1="{0:g}" x2="{0:g}" y1="{1:g}" y2="{2:g}"/>').format(x, TOP, HEIGHT - BOTTOM)
    title = Markup('<text class="title" x="{:g}" y="16" text-anchor="middle">{}</text>').format(
        x, _shorten(coordinate.name.rpartition(".")[2])
    )
    label = Markup('<text class="tick" x="{:g}" y="{:.1f}" text-anchor="end">{}</text>')
    return [line, title, *(label.format(x - 5, axis.place(t) + 4, _shorten(axis.format(t))) for t in axis.ticks)]


def _shorten(text: str) -> str:
    return text if len(text) <= LABEL_LENGTH else f"{text[: LABEL_LENGTH - 3]}..."
