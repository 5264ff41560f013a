"""Figures of matplotlib's, without a window system: texts are drawn letter by letter, whatever they hold."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trainer.utils.text import escape_control_chars

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
INTEGER_AXIS_PREFIXES = ("step", "rows", "numbers", "unit")
"""How the labels of axes begin on which there is nothing between two whole numbers."""


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure, sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as a PNG. Between two ``$`` of a name stands no formula."""
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
    """Title, labels, grid and plain numbers: a factor of all of them would stand where the title does."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_title(title, fontsize="medium", loc="left")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    for axis, name in ((axes.xaxis, across), (axes.yaxis, up)):
        axis.set_major_locator(MaxNLocator(6, integer=name.startswith(INTEGER_AXIS_PREFIXES)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
