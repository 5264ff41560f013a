"""Matplotlib figures without a window system; text is drawn literally, never as a formula."""

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
    """Create an empty figure.

    Args:
        width: Width in inches.
        height: Height in inches.
        layout: Layout engine of matplotlib; None for fixed margins.
    """
    with pause_gc():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure as a PNG; ``$`` in text is drawn literally.

    Args:
        figure: The figure.
        path: File to write.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        text.set_text(escape_control_chars(text.get_text()))
    with warnings.catch_warnings():
        # A character that the font lacks is drawn as an empty box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, dpi=DPI)


def format_axes(axes: Axes, title: str, x_label: str, y_label: str = "") -> None:
    """Set title, axis labels, grid, and tick labels without an offset, which would be drawn over the title.

    Args:
        axes: Axes to format.
        title: Title, left-aligned.
        x_label: Label of the horizontal axis; see ``INTEGER_AXIS_PREFIXES``.
        y_label: Label of the vertical axis.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_title(title, fontsize="medium", loc="left")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    for axis, name in ((axes.xaxis, x_label), (axes.yaxis, y_label)):
        axis.set_major_locator(MaxNLocator(6, integer=name.startswith(INTEGER_AXIS_PREFIXES)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
