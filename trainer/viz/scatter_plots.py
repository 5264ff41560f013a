"""Scatter plots of generated and real points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.core.artifacts import ScatterPlot
from trainer.utils.text import escape_control_chars, shorten_label
from trainer.viz.matplotlib_figures import new_figure, save_figure

MAX_COLUMN_NAME_LENGTH = 18
"""Maximum number of characters of a column name in an axis label."""


def draw_point_cloud(plot: ScatterPlot, path: Path) -> None:
    """Draw point clouds side by side, each over the real points, as a PNG.

    More than two features are projected to the first two principal components of the real points.

    Args:
        plot: Real points (N, F), and a caption with generated points (M, F) for each panel.
        path: File to write.
    """
    projection = _fit_projection(plot)
    real = projection.project(plot.real)
    (left, low), (right, high) = real.min(0), real.max(0)
    margin = 0.15 * max(right - left, high - low, 1e-9)
    figure = new_figure(max(3.2, 2.8 * len(plot.panels)), 3.7)
    all_axes = figure.subplots(1, len(plot.panels), squeeze=False).flat
    for axes, (caption, points) in zip(all_axes, plot.panels, strict=True):
        real_points = axes.scatter(*real.T, s=3, c="0.7", linewidths=0)
        generated_points = axes.scatter(*projection.project(points).T, s=3, c="tab:blue", linewidths=0)
        axes.set_title(caption, fontsize="medium", loc="left")
        axes.set(xlim=(left - margin, right + margin), ylim=(low - margin, high + margin))
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_color("0.8")
    figure.supxlabel(projection.x_label, fontsize="small")
    figure.supylabel(projection.y_label, fontsize="small")
    names = ["training rows", "generated rows"]
    figure.legend([real_points, generated_points], names, loc="outside upper left", ncols=2, fontsize="small",
                  frameon=False, markerscale=3, columnspacing=1, handletextpad=0.2)  # fmt: skip
    save_figure(figure, path)


class Projection(NamedTuple):
    """Projection of points (N, F) to the plane (N, 2).

    Attributes:
        project: Function that projects points.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis.
    """

    project: Callable[[Tensor], np.ndarray]
    x_label: str
    y_label: str


def _fit_projection(plot: ScatterPlot) -> Projection:
    """Return the identity for one or two features, else the first two principal components of the real points."""
    real = plot.real.double()
    names = plot.columns if len(plot.columns) == real.shape[1] else [f"column {1 + n}" for n in range(real.shape[1])]
    names = [shorten_label(escape_control_chars(name, one_line=True), MAX_COLUMN_NAME_LENGTH) for name in names]
    if real.shape[1] <= 2:
        width = 2 - real.shape[1]
        return Projection(lambda points: np.pad(points.numpy(), ((0, 0), (0, width))), *names, *[""] * width)
    mean = real.mean(0)
    _, sizes, axes = torch.linalg.svd(real - mean, full_matrices=False)
    variance_ratios = sizes.square() / sizes.square().sum().clamp(min=1e-12)
    axes = torch.cat((axes[:2], axes.new_zeros(max(0, 2 - len(axes)), real.shape[1])))
    labels = []
    for index, axis in enumerate(axes):
        main_features = [names[n] for n in axis.abs().argsort(descending=True)[:2].tolist() if axis[n]]
        ratio = float(variance_ratios[index]) if index < len(variance_ratios) else 0.0
        labels.append(
            f"direction {index + 1}, {ratio:.0%} of the variance\nmostly {', '.join(main_features) or 'nothing'}"
        )
    return Projection(lambda points: ((points.double() - mean) @ axes.T).numpy(), *labels)
