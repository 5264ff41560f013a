"""Matplotlib figures without a window system; texts are drawn literally, never as formulas."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trainer.utils.gc_pause import pause_gc
from trainer.utils.text import escape_control_chars

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
INTEGER_AXIS_PREFIXES = ("step", "rows", "numbers", "unit")
"""Prefixes of the labels of integer axes."""


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Create an empty figure of a size in inches."""
    with pause_gc():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure as a PNG; ``$`` in a text begins no formula."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        text.set_text(escape_control_chars(text.get_text()))
    with warnings.catch_warnings():
        # A letter that the font lacks is drawn as an empty box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, dpi=DPI)


def format_axes(axes: Axes, title: str, across: str, up: str = "") -> None:
    """Set title, labels, grid and plain tick labels: an offset would be drawn over the title."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_title(title, fontsize="medium", loc="left")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    for axis, name in ((axes.xaxis, across), (axes.yaxis, up)):
        axis.set_major_locator(MaxNLocator(6, integer=name.startswith(INTEGER_AXIS_PREFIXES)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
