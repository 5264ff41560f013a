"""Line charts as inline SVG, in the colors of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 360.0, 220.0
"""Size of a chart in its own units: about its pixels on a phone, so that texts are readable there."""
LEFT, RIGHT, TOP, BOTTOM = 52.0, 10.0, 12.0, 34.0
"""Margins of the plot area."""
MAX_POINTS = 400
"""Largest number of points of a line; of more, evenly spaced ones are drawn."""
MAX_DOTS = 40
"""Number of points up to which each is a dot with its value as a tooltip."""
NUM_TICKS = 5
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
    """

    title: str
    x_label: str
    lines: Sequence[Line]
    mark: tuple[float, str] | None = None
    is_log: bool = False
    is_scatter: bool = False

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
    x_axis = _Axis.make([x for x, _ in points], LEFT, WIDTH - RIGHT)
    y_axis = _Axis.make([y for _, y in points], HEIGHT - BOTTOM, TOP, is_log=chart.is_log)
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">').format(
            WIDTH, HEIGHT, chart.summary
        ),
        *_draw_y_axis(y_axis),
        *_draw_x_axis(x_axis, chart.x_label),
    ]
    if chart.mark is not None and x_axis.low <= chart.mark[0] <= x_axis.high:
        parts += _draw_mark(x_axis.place(chart.mark[0]))
    for style, line in enumerate(chart.lines):
        parts += _draw_line(line, style % NUM_STYLES, x_axis, y_axis, chart)
    return Markup("").join([*parts, Markup("</svg>")])


def _is_drawable(value: float, chart: Chart) -> bool:
    return math.isfinite(value) and (value > 0 or not chart.is_log)


@dataclass(frozen=True)
class _Axis:
    """Scale of an axis.

    Args:
        low: Value at its start.
        high: Value at its end.
        start: Coordinate of its start.
        end: Coordinate of its end.
        ticks: Values with a label.
        is_log: Whether it is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    is_log: bool = False

    @classmethod
    def make(cls, values: Sequence[float], start: float, end: float, *, is_log: bool = False) -> _Axis:
        """Return the axis of values, with ticks at round numbers."""
        from matplotlib.ticker import LogLocator, MaxNLocator

        low, high = min(values), max(values)
        if low == high:
            margin = abs(low) * 0.1 or 1.0
            low, high = (low / 2, high * 2) if is_log else (low - margin, high + margin)
        is_log = is_log and high / low > 10  # less than a decade has too few round numbers on such an axis
        locator = LogLocator(numticks=NUM_TICKS) if is_log else MaxNLocator(NUM_TICKS, steps=[1, 2, 2.5, 5, 10])
        ticks = [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high]
        return cls(low, high, start, end, ticks, is_log)

    def place(self, value: float) -> float:
        """Return the coordinate of a value."""
        low, high, number = (self.low, self.high, value)
        if self.is_log:
            low, high, number = math.log(low), math.log(high), math.log(number)
        return self.start + (number - low) / (high - low) * (self.end - self.start)


def _draw_y_axis(axis: _Axis) -> list[Markup]:
    grid = Markup('<line class="grid" x1="{:g}" x2="{:g}" y1="{:.1f}" y2="{:.1f}"/>')
    label = Markup('<text class="tick" x="{:g}" y="{:.1f}" text-anchor="end">{}</text>')
    return [
        part
        for tick in axis.ticks
        for part in (
            grid.format(LEFT, WIDTH - RIGHT, axis.place(tick), axis.place(tick)),
            label.format(LEFT - 6, axis.place(tick) + 4, format_tick(tick)),
        )
    ]


def _draw_x_axis(axis: _Axis, name: str) -> list[Markup]:
    bottom = HEIGHT - BOTTOM
    label = Markup('<text class="tick" x="{:.1f}" y="{:g}" text-anchor="middle">{}</text>')
    return [
        Markup('<line class="axis" x1="{:g}" x2="{:g}" y1="{:g}" y2="{:g}"/>').format(
            LEFT, WIDTH - RIGHT, bottom, bottom
        ),
        *(label.format(axis.place(tick), bottom + 14, format_tick(tick)) for tick in axis.ticks),
        label.format((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, name),
    ]


def _draw_mark(x: float) -> list[Markup]:
    return [
        Markup('<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="{1:g}" y2="{2:g}"/>').format(x, TOP, HEIGHT - BOTTOM)
    ]


def _draw_line(line: Line, style: int, x_axis: _Axis, y_axis: _Axis, chart: Chart) -> list[Markup]:
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


def format_tick(value: float) -> str:
    """Format a round number briefly: ``20k`` for 20,000."""
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 10 or (abs(value) >= factor and suffix != "k"):
            return f"{value / factor:g}{suffix}"
    return f"{value:.4g}"
