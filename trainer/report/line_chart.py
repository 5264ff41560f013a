"""Line charts as inline SVG, in the colors of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from trainer.report.chart_axis import Axis

WIDTH, HEIGHT = 360.0, 220.0
"""Size of a chart in its own units: about its pixels on a phone, so that texts are readable there."""
LEFT, RIGHT, TOP, BOTTOM = 52.0, 10.0, 12.0, 34.0
"""Margins of the plot area, the left one if labels are short."""
LETTER_WIDTH, LABEL_GAP = 6.5, 6.0
"""Width of a letter of a label, and space between a label and the plot area."""
MAX_POINTS = 400
"""Largest number of points of a line; of more, evenly spaced ones are drawn."""
SCATTER_MARGIN = 6
"""Distance of the outer points from the ends of the axes: none lies on a line."""
MAX_DOTS = 40
"""Number of points up to which each is a dot with its value as a tooltip."""
NUM_STYLES = 6
"""Number of line styles that the style sheet defines."""


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Args:
        name: Name in the legend.
        points: Pairs (x, y); values that are not finite interrupt the line.
    """

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A chart of one or several lines.

    Args:
        title: Title.
        x_label: Label of the horizontal axis.
        lines: The lines.
        mark: Position on the horizontal axis that is marked, and its label; None for none.
        is_log: Whether the vertical axis is logarithmic.
        is_scatter: Whether points are not joined by lines.
        is_x_log: Whether the horizontal axis is logarithmic.
        x_names: Names of the positions 0, 1, ... on the horizontal axis, for values that are no numbers.
    """

    title: str
    x_label: str
    lines: Sequence[Line]
    mark: tuple[float, str] | None = None
    is_log: bool = False
    is_scatter: bool = False
    is_x_log: bool = False
    x_names: Sequence[str] = ()

    @property
    def summary(self) -> str:
        """Description of the chart for readers that do not see it: first, last and extreme values of each line."""
        parts = []
        for line in self.lines:
            values = [y for _, y in line.points if math.isfinite(y)]
            if values:
                bounds = f"between {min(values):.4g} and {max(values):.4g}"
                parts.append(f"{line.name}: from {values[0]:.4g} to {values[-1]:.4g}, {bounds}")
        mark = [] if self.mark is None else [f"{self.mark[1]} at {self.mark[0]:g}"]
        return "; ".join([f"{self.title} against {self.x_label}", *parts, *mark])

    @property
    def has_points(self) -> bool:
        """Whether there is anything to draw."""
        return any(math.isfinite(y) for line in self.lines for _, y in line.points)


def draw_chart(chart: Chart) -> Markup:
    """Return a chart as an SVG element.

    Args:
        chart: The chart, with at least one finite point.
    """
    points = [(x, y) for line in chart.lines for x, y in line.points if _is_drawable(y, chart)]
    margin = SCATTER_MARGIN if chart.is_scatter else 0
    y_axis = Axis.make([y for _, y in points], HEIGHT - BOTTOM - margin, TOP + margin, is_log=chart.is_log)
    longest = max((len(y_axis.format(tick)) for tick in y_axis.ticks), default=0)
    left = max(LEFT, LETTER_WIDTH * longest + LABEL_GAP)
    x_ends = left + margin, WIDTH - RIGHT - margin
    x_axis = Axis.make([x for x, _ in points], *x_ends, is_log=chart.is_x_log, names=chart.x_names)
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">').format(
            WIDTH, HEIGHT, chart.summary
        ),
        *_draw_y_axis(y_axis, left),
        *_draw_x_axis(x_axis, margin, chart.x_label),
    ]
    if chart.mark is not None and x_axis.low <= chart.mark[0] <= x_axis.high:
        parts += _draw_mark(x_axis.place(chart.mark[0]))
    for style, line in enumerate(chart.lines):
        parts += _draw_line(line, style % NUM_STYLES, x_axis, y_axis, chart)
    return Markup("").join([*parts, Markup("</svg>")])


def _is_drawable(value: float, chart: Chart) -> bool:
    return math.isfinite(value) and (value > 0 or not chart.is_log)


def _draw_y_axis(axis: Axis, left: float) -> list[Markup]:
    grid = Markup('<line class="grid" x1="{:g}" x2="{:g}" y1="{:.1f}" y2="{:.1f}"/>')
    label = Markup('<text class="tick" x="{:g}" y="{:.1f}" text-anchor="end">{}</text>')
    return [
        part
        for tick in axis.ticks
        for part in (
            grid.format(left, WIDTH - RIGHT, axis.place(tick), axis.place(tick)),
            label.format(left - LABEL_GAP, axis.place(tick) + 4, axis.format(tick)),
        )
    ]


def _draw_x_axis(axis: Axis, margin: int, name: str) -> list[Markup]:
    bottom = HEIGHT - BOTTOM
    label = Markup('<text class="tick" x="{:.1f}" y="{:g}" text-anchor="middle">{}</text>')
    tooltip = Markup("{}<title>{}</title>")
    space = int((axis.end - axis.start) / max(1, len(axis.names)) / LETTER_WIDTH)
    texts = [axis.format(tick) for tick in axis.ticks]
    if axis.names:
        texts = [text if len(text) < space else tooltip.format(f"{text[: max(1, space - 2)]}…", text) for text in texts]
    return [
        Markup('<line class="axis" x1="{:g}" x2="{:g}" y1="{:g}" y2="{:g}"/>').format(
            axis.start - margin, axis.end + margin, bottom, bottom
        ),
        *(label.format(axis.place(tick), bottom + 14, text) for tick, text in zip(axis.ticks, texts, strict=True)),
        label.format((axis.start + axis.end) / 2, HEIGHT - 4, name),
    ]


def _draw_mark(x: float) -> list[Markup]:
    return [
        Markup('<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="{1:g}" y2="{2:g}"/>').format(x, TOP, HEIGHT - BOTTOM)
    ]


def _draw_line(line: Line, style: int, x_axis: Axis, y_axis: Axis, chart: Chart) -> list[Markup]:
    drawn = _thin_out(line.points)
    segments: list[list[str]] = [[]]
    for x, y in drawn:
        if _is_drawable(y, chart):
            segments[-1].append(f"{x_axis.place(x):.1f},{y_axis.place(y):.1f}")
        elif segments[-1]:
            segments.append([])
    path = Markup('<polyline class="line s{}" points="{}"/>')
    parts = [] if chart.is_scatter else [path.format(style, " ".join(segment)) for segment in segments if segment]
    if len(drawn) <= MAX_DOTS or chart.is_scatter:
        dot = Markup('<circle class="dot s{}" cx="{:.1f}" cy="{:.1f}" r="2.5"><title>{}</title></circle>')
        parts += [
            dot.format(style, x_axis.place(x), y_axis.place(y), f"{line.name} {y:.4g} at {chart.x_label} {x:g}")
            for x, y in drawn
            if _is_drawable(y, chart)
        ]
    return parts


def _thin_out(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Return at most ``MAX_POINTS`` evenly spaced points, the first and the last among them."""
    if len(points) <= MAX_POINTS:
        return points
    return [points[round(i * (len(points) - 1) / (MAX_POINTS - 1))] for i in range(MAX_POINTS)]
