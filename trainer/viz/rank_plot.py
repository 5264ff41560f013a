"""Diagram of average ranks with their critical difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.utils.text import shorten_label
from trainer.viz.matplotlib_figures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LABEL_LENGTH = 48
AXIS_WIDTH, CHARACTER_WIDTH, LINE_HEIGHT = 3.5, 0.075, 0.26
"""Sizes of the axis, of a character of a label, and of a line, in inches."""


def draw_ranks(
    labels: Sequence[str],
    ranks: Sequence[float],
    critical_difference: float,
    groups: Sequence[Sequence[int]],
    title: str,
    path: Path,
) -> None:
    """Draw average ranks on an axis, with a bar over each group of settings that are not shown to differ, as a PNG.

    Args:
        labels: Label of each setting.
        ranks: Average rank of each setting, 1 for the best.
        critical_difference: Difference of ranks that is shown as a ruler.
        groups: Indices of the settings of each group.
        title: Title of the diagram.
        path: File to write.

    References:
        Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 2006, figure 1.
    """
    number = len(ranks)
    rows = (number + 1) // 2
    depth = 0.8 + 0.5 * len(groups)  # of the bars below the axis, in lines
    height = 3.2 + depth + rows
    texts = [f"{shorten_label(label, MAX_LABEL_LENGTH)}  {rank:.2f}" for label, rank in zip(labels, ranks, strict=True)]
    # The axis is from 0 to 1; the labels stand on both sides.
    margin = max(0.6, (max(map(len, texts)) * CHARACTER_WIDTH + 0.4) / AXIS_WIDTH)
    figure = new_figure(AXIS_WIDTH * (1 + 2 * margin), 0.4 + LINE_HEIGHT * height, layout=None)
    axes = figure.add_axes((0.0, 0.02, 1.0, 0.96))
    axes.set(xlim=(-margin, 1 + margin), ylim=(depth + rows + 0.4, -3.2))
    axes.axis("off")
    scale = [(rank - 1) / (number - 1) for rank in ranks]
    _draw_axis(axes, number)
    axes.text(0.03 - margin, -2.7, title, va="center", ha="left", fontsize="medium")
    width = critical_difference / (number - 1)
    if width <= 1 + margin / 2:
        axes.plot([0, 0, width, width], [-1.55, -1.75, -1.75, -1.55], color="black", linewidth=1)
        axes.text(width + 0.03, -1.75, f"critical difference {critical_difference:.2f}", va="center", fontsize="small")
    else:
        axes.text(0, -1.75, f"critical difference {critical_difference:.2f}: wider than the axis", fontsize="small")
    order = sorted(range(number), key=lambda index: ranks[index])
    for place, index in enumerate(order):
        is_left = place < rows
        line = depth + (place if is_left else number - 1 - place) + 0.2
        end, side = (-0.05, "right") if is_left else (1.05, "left")
        axes.plot([scale[index], scale[index], end], [0, line, line], color="0.35", linewidth=0.9)
        axes.text(end + (-0.02 if is_left else 0.02), line, texts[index], ha=side, va="center", fontsize="small")
    for level, group in enumerate(groups):
        ends = [scale[index] for index in group]
        position = 0.55 + 0.5 * level
        axes.plot([min(ends) - 0.012, max(ends) + 0.012], [position] * 2, color="tab:blue", linewidth=4,
                  solid_capstyle="butt")  # fmt: skip
    save_figure(figure, path)


def _draw_axis(axes: Axes, number: int) -> None:
    """Draw the axis of the ranks with a tick at each whole one, at most twelve of them labeled."""
    axes.plot([0, 1], [0, 0], color="black", linewidth=1)
    step = -(-number // 12)
    for rank in range(1, number + 1):
        place = (rank - 1) / (number - 1)
        axes.plot([place, place], [0, -0.25], color="black", linewidth=1)
        if rank == number or ((rank - 1) % step == 0 and number - rank >= step):
            axes.text(place, -0.4, str(rank), ha="center", va="bottom", fontsize="small")
