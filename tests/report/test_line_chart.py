"""Charts are valid SVG that shows the finite points of every line, with ticks at round numbers."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.report.chart_axis import Axis, format_tick
from trainer.report.line_chart import HEIGHT, MAX_POINTS, WIDTH, Chart, Line, draw_chart

NUMBERS = st.floats(-1e12, 1e12) | st.just(math.nan) | st.just(math.inf)


def draw(*lines: Line, **options: object) -> ET.Element:
    chart = Chart("loss", "steps", lines, **options)  # type: ignore[arg-type]
    return ET.fromstring(str(draw_chart(chart)))


def read_points(root: ET.Element) -> list[list[tuple[float, float]]]:
    texts = [line.attrib["points"] for line in root.iter("polyline")]
    return [[(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())] for text in texts]


def test_points_are_placed_in_proportion() -> None:
    (points,) = read_points(draw(Line("a", [(0, 1.0), (5, 2.0), (10, 3.0)])))
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)
    assert y0 > y2  # larger values are higher


def test_a_logarithmic_axis_places_powers_evenly() -> None:
    (points,) = read_points(draw(Line("a", [(0, 1e-3), (1, 1e-1), (2, 10.0)]), is_log=True))
    assert points[1][1] == pytest.approx((points[0][1] + points[2][1]) / 2, abs=0.1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), NUMBERS), min_size=1, max_size=30), st.booleans())
def test_every_line_stays_within_the_chart(points: list[tuple[int, float]], is_log: bool) -> None:
    chart = Chart("loss", "steps", [Line("a", points)], is_log=is_log)
    if not any(math.isfinite(y) and (y > 0 or not is_log) for _, y in points):
        return
    root = ET.fromstring(str(draw_chart(chart)))
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for line in read_points(root) for x, y in line)


@pytest.mark.parametrize("values", [(1.15e-8, 1.3e-8), (-1.15e-8, -1.3e-8), (0.1, 0.9), (0.99125, 0.9915)])
def test_labels_of_the_vertical_axis_are_not_cut(values: tuple[float, float]) -> None:
    """A digit of the font is about 6 units wide."""
    root = draw(Line("a", [(0, values[0]), (1, values[1])]))
    labels = [item for item in root.iter("text") if item.attrib["text-anchor"] == "end"]
    assert labels
    assert all(float(item.attrib["x"]) >= 6 * len(item.text or "") for item in labels)
    (points,) = read_points(root)
    assert min(x for x, _ in points) >= max(float(item.attrib["x"]) for item in labels)


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.969, 0.97), (-0.97, -0.969), (1_000_001, 1_000_009), (0.0, 1.0), (1.00001e-8, 1.00002e-8), (3, 3)],
)
def test_labels_are_evenly_spaced_like_their_ticks(low: float, high: float) -> None:
    axis = Axis.make([low, high], 0, 100)
    scale = 1e-6 if "M" in axis.format(axis.ticks[0]) else 1e-3 if "k" in axis.format(axis.ticks[0]) else 1
    numbers = [float(axis.format(tick).rstrip("kM")) / scale for tick in axis.ticks]
    gap = axis.ticks[1] - axis.ticks[0]
    assert numbers == pytest.approx(axis.ticks, abs=0.02 * gap, rel=0)


def test_labels_of_an_axis_have_equally_many_decimals() -> None:
    axis = Axis.make([0.885, 0.925], 0, 100)
    assert [axis.format(tick) for tick in axis.ticks] == ["0.89", "0.90", "0.91", "0.92"]
    axis = Axis.make([0, 10], 0, 100)
    assert [axis.format(tick) for tick in axis.ticks] == ["0", "2", "4", "6", "8", "10"]


def test_points_without_lines_lie_within_the_axes() -> None:
    lines = Line("a", [(0, 1.0), (1, 2.0)])
    root, joined = draw(lines, is_scatter=True), draw(lines)
    ends = [
        [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in each.iter("circle")] for each in (root, joined)
    ]
    (low, high), (joined_low, joined_high) = ends
    assert low[0] > joined_low[0] + 3
    assert low[1] < joined_low[1] - 3
    assert high[0] < joined_high[0] - 3
    assert high[1] > joined_high[1] + 3


@pytest.mark.parametrize("count", [2, 5, 12])
def test_long_names_on_the_horizontal_axis_do_not_overlap(count: int) -> None:
    """Their full text is a tooltip."""
    names = [f"[256,256,{index}]" for index in range(count)]
    root = draw(Line("a", [(float(i), float(i)) for i in range(count)]), is_scatter=True, x_names=names)
    labels = [item for item in root.iter("text") if item.attrib["text-anchor"] == "middle"][:count]
    places = [float(item.attrib["x"]) for item in labels]
    widths = [6 * len(item.text or "") for item in labels]
    assert all(places[i] + widths[i] / 2 <= places[i + 1] - widths[i + 1] / 2 for i in range(count - 1))
    assert [item.findtext("title", item.text) for item in labels] == names


def test_values_that_are_not_finite_interrupt_a_line() -> None:
    assert len(read_points(draw(Line("a", [(0, 1), (1, 2), (2, math.nan), (3, 1), (4, 2)])))) == 2


def test_long_lines_are_thinned_out_to_their_ends() -> None:
    (points,) = read_points(draw(Line("a", [(i, float(i)) for i in range(10_000)])))
    assert len(points) == MAX_POINTS
    (short,) = read_points(draw(Line("a", [(0, 0.0), (9999, 9999.0)])))
    assert (points[0], points[-1]) == (short[0], short[-1])


def test_names_are_escaped_and_described() -> None:
    root = draw(Line('<b>&"', [(0, 1.0), (1, 4.0)]), mark=(1, "chosen"))
    assert root.attrib["aria-label"] == 'loss against steps; <b>&": from 1 to 4, between 1 and 4; chosen at 1'


def test_equal_values_have_an_axis() -> None:
    assert read_points(draw(Line("a", [(0, 0.0), (1, 0.0)])))
    assert read_points(draw(Line("a", [(3, 5.0)])))


def test_positions_may_have_names() -> None:
    root = draw(Line("a", [(0, 1.0), (1, 2.0)]), is_scatter=True, x_names=["relu", "tanh"])
    texts = [element.text for element in root.iter("text")]
    assert {"relu", "tanh"} <= set(texts)
    assert read_points(root) == []
    assert len([*root.iter("circle")]) == 2


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.0005, "0.0005"), (1500, "1500"), (20_000, "20k"), (2e6, "2M"), (-5e4, "-50k")]
)
def test_ticks_are_short(value: float, text: str) -> None:
    assert format_tick(value) == text
