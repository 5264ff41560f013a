"""Line and scatter charts (predicted versus true, forecasts, ROC curves), confusion matrices and training curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trainer.core.artifacts import ConfusionMatrix, LineChart, PlotPanel
from trainer.utils.text import escape_control_chars, shorten_label
from trainer.viz.matplotlib_figures import format_axes, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_MARKERS = 30
"""Number of validations up to which each is marked by a dot."""
LINE_COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")

LearningRateCurves = Mapping[str, Sequence[tuple[int, float]]]
"""Learning rates by parameter group, each (step, learning rate)."""

MAX_CLASSES_WITH_ZEROS = 12
"""Number of classes up to which a confusion matrix prints zeros; in a larger one they would hide the rest."""


def draw_chart(chart: LineChart, path: Path) -> None:
    """Draw a line chart as a PNG.

    Args:
        chart: Panels with lines, points or bars, and their layout.
        path: File to write.
    """
    rows = math.ceil(len(chart.panels) / chart.columns)
    figure = new_figure(chart.width * chart.columns, 3.4 * rows)
    all_axes = figure.subplots(rows, chart.columns, squeeze=False).flat
    for axes in all_axes[len(chart.panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(all_axes, chart.panels, strict=False):
        _draw_panel(axes, panel)
    save_figure(figure, path)


def _draw_panel(axes: Axes, panel: PlotPanel) -> None:
    format_axes(axes, escape_control_chars(panel.title), panel.x_label, panel.y_label)
    for (label, x, y), color in zip(panel.lines, LINE_COLORS, strict=False):
        axes.plot(x.tolist(), y.tolist(), label=label or None, color=color, linewidth=1.4)
    for (label, x, y), color in zip(panel.points, LINE_COLORS, strict=False):
        axes.scatter(x.tolist(), y.tolist(), label=label or None, color=color, s=9, alpha=0.5, linewidths=0)
    for label, x, lower, upper in panel.bands:
        axes.fill_between(x.tolist(), lower.tolist(), upper.tolist(), label=label or None, color="0.75", linewidth=0)
    if panel.bars is not None:
        x, heights = panel.bars
        axes.bar(x.tolist(), heights.tolist(), width=0.8, color=LINE_COLORS[0])
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.margins(x=0.01)
    if panel.diagonal:
        low, high = min(*axes.get_xlim(), *axes.get_ylim()), max(*axes.get_xlim(), *axes.get_ylim())
        axes.plot((low, high), (low, high), color="0.6", linewidth=0.8, zorder=0)
        axes.set(xlim=(low, high), ylim=(low, high))
    if axes.get_legend_handles_labels()[1]:
        # The position by its name: matplotlib warns of the default one where drawing it takes over a second.
        axes.legend(loc="best", fontsize="small", frameon=False)


def draw_training_curves(
    history: Sequence[Mapping[str, Any]],
    monitor: str,
    path: Path,
    rates: LearningRateCurves | None = None,
    best_epoch: int | None = None,
) -> None:
    """Draw the losses, the monitored validation score and the learning rates over steps, side by side, as a PNG.

    Args:
        history: Rows of ``metrics.csv``, one per validation; nothing is drawn if there are none.
        monitor: Metric that selects the best weights.
        path: File to write.
        rates: Learning rates of all steps; default: those at the validations.
        best_epoch: Epoch whose weights were selected; marked by a vertical line.
    """
    if not history:
        return
    # Fixed margins: a layout engine would draw everything twice to find them.
    figure = new_figure(12, 3.4, layout=None)
    figure.subplots_adjust(left=0.06, right=0.99, top=0.9, bottom=0.16, wspace=0.22)
    loss_axes, score_axes, lr_axes = figure.subplots(1, 3)
    steps = [row["step"] for row in history]
    columns = {name: [row.get(name, math.nan) for row in history] for name in history[0]}
    format_axes(loss_axes, "loss", "step")
    _draw_history(loss_axes, steps, columns["train_loss"], "training")
    if "val_loss" in columns:
        _draw_history(loss_axes, steps, columns["val_loss"], "validation")
    format_axes(score_axes, f"validation {monitor}", "step")
    _draw_history(score_axes, steps, columns[f"val_{monitor}"], "")
    format_axes(lr_axes, "learning rate", "step")
    lr_curves = rates or {
        name[3:]: list(zip(steps, columns[name], strict=True)) for name in columns if name.startswith("lr_")
    }
    for name, points in lr_curves.items():
        is_few = len(points) < MAX_MARKERS
        label = name if len(lr_curves) > 1 else None
        lr_axes.plot(*zip(*points, strict=True), marker="o" if is_few else "", markersize=3, label=label)
    lr_axes.set_ylim(bottom=0)
    best_step = next((row["step"] for row in history if row["epoch"] == best_epoch), None)
    for axes in (loss_axes, score_axes):
        if best_step is not None:
            axes.axvline(best_step, color="0.4", linestyle="--", linewidth=1, label=f"chosen: epoch {best_epoch}")
    for axes in (loss_axes, score_axes, lr_axes):
        axes.set_xlim(0, max(1, *steps) * 1.03)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="best", fontsize="small", frameon=False)
    save_figure(figure, path)


def _draw_history(axes: Axes, steps: Sequence[int], values: Sequence[float], label: str) -> None:
    marker = "o" if len(steps) < MAX_MARKERS else ""
    axes.plot(steps, values, marker=marker, markersize=4, label=label or None)
    if len(steps) == 1 and math.isfinite(values[0]):
        axes.annotate(f"{values[0]:.4g}", (steps[0], values[0]), (-6, 6), textcoords="offset points", ha="right")


def draw_confusion_matrix(matrix: ConfusionMatrix, path: Path) -> None:
    """Draw a confusion matrix as a PNG: colors normalized by row, with counts.

    Args:
        matrix: Counts (C, C), rows are true classes, and class names.
        path: File to write.
    """
    counts, labels = (
        matrix.counts,
        [shorten_label(escape_control_chars(label, one_line=True)) for label in matrix.labels],
    )
    side = 1.6 + max(0.42 * len(labels), 0.07 * max(map(len, labels)))
    figure = new_figure(side, side)
    axes = figure.subplots()
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    cells = counts.nonzero() if len(labels) > MAX_CLASSES_WITH_ZEROS else torch.ones_like(counts).nonzero()
    for (true_class, predicted_class), count in ((cell.tolist(), int(counts[tuple(cell)])) for cell in cells):
        text_color = "0.75" if not count else "white" if shares[true_class, predicted_class] > 0.5 else "black"
        axes.text(
            predicted_class, true_class, str(count), ha="center", va="center", color=text_color, fontsize="x-small"
        )
    axes.set_xticks(range(len(labels)), labels, rotation=90 if max(map(len, labels)) > 2 else 0, fontsize="small")
    axes.set_yticks(range(len(labels)), labels, fontsize="small")
    axes.set_xlabel("Predicted")
    axes.set_ylabel("True")
    save_figure(figure, path)
