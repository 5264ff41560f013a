"""What a task or a model has to show, drawn or written into files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.artifacts import (
    ArrayFile,
    Artifact,
    ConfusionMatrix,
    GraphPlot,
    ImageGrid,
    LineChart,
    ScatterPlot,
    Table,
)
from trainer.utils import atomic_write
from trainer.utils.text import escape_control_chars, shorten_label
from trainer.viz import image_grid, plots
from trainer.viz.matplotlib_figures import new_figure, save_figure

LAYOUT_STEPS, CENTER_PULL = 60, 5.0
"""Until the nodes of a drawn graph stand still, and how strongly the middle holds them."""

MAX_CLASSES_WITH_ZEROS = 12
"""Classes up to which a matrix says 0 where nothing was counted: in a larger one the others would not stand out."""
MAX_COLUMN_NAME_LENGTH = 18
"""Letters of a column's name beside an axis."""


def write_artifacts(items: Iterable[Artifact], folder: Path, *, replace: bool = True) -> list[Path]:
    """Draws each item into a file of its name; gives the paths. Without ``replace`` a taken name is numbered.

    Raises SystemFault where a file cannot be written.
    """
    paths = []
    for item in items:
        path = folder / f"{item.name}.{item.suffix}"
        paths.append(path if replace else _find_unused_path(path))
        with atomic_write.catch_write_errors(paths[-1]):
            paths[-1].parent.mkdir(exist_ok=True)
        with atomic_write.replace_file(paths[-1]) as temporary:
            WRITERS[type(item)](item, temporary)
    return paths


def _find_unused_path(path: Path) -> Path:
    """The path, or the first of ``name-2``, ``name-3``, ... that no file has."""
    names = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    return next(name for name in chain((path,), names) if not name.exists())


def draw_confusion_matrix(shown: ConfusionMatrix, path: Path) -> None:
    """Shares of each row as shades with their counts, as a PNG; what is never right or always right stands out."""
    counts, labels = shown.counts, [shorten_label(escape_control_chars(label, one_line=True)) for label in shown.labels]
    side = 1.6 + max(0.42 * len(labels), 0.07 * max(map(len, labels)))
    figure = new_figure(side, side)
    axes = figure.subplots()
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    told = counts.nonzero() if len(labels) > MAX_CLASSES_WITH_ZEROS else torch.ones_like(counts).nonzero()
    for (truth, taken), number in ((place.tolist(), int(counts[tuple(place)])) for place in told):
        shade = "0.75" if not number else "white" if shares[truth, taken] > 0.5 else "black"
        axes.text(taken, truth, str(number), ha="center", va="center", color=shade, fontsize="x-small")
    axes.set_xticks(range(len(labels)), labels, rotation=90 if max(map(len, labels)) > 2 else 0, fontsize="small")
    axes.set_yticks(range(len(labels)), labels, fontsize="small")
    axes.set_xlabel("Predicted")
    axes.set_ylabel("True")
    save_figure(figure, path)


def draw_network(shown: GraphPlot, path: Path) -> None:
    """Graphs side by side, laid out by springs along the links of the first, and as matrices, as a PNG."""
    from matplotlib.collections import LineCollection

    classes = torch.zeros(shown.num_nodes, dtype=torch.long) if shown.node_classes is None else shown.node_classes
    colours = image_grid.DARK_CLASS_COLORS[classes % len(image_grid.DARK_CLASS_COLORS)].numpy() / 255
    places, rank = _layout_nodes(shown, classes).numpy(), classes.argsort(stable=True).argsort().numpy()
    figure = new_figure(5.3 * len(shown.graphs), 9.6)
    upper, lower = figure.subplots(2, len(shown.graphs), squeeze=False)
    for (caption, links), points, matrix in zip(shown.graphs, upper, lower, strict=True):
        ends = np.concatenate((links.numpy(), links.flip(1).numpy()))
        points.add_collection(LineCollection(places[links.numpy()], colors="0.5", linewidths=0.4, alpha=0.5, zorder=1))
        points.scatter(*places.T, s=6000 / (shown.num_nodes + 100), c=colours, linewidths=0, zorder=2)
        points.set_title(caption, fontsize="medium", loc="left")
        matrix.scatter(*rank[ends].T, s=1500 / (shown.num_nodes + 100), c=colours[ends[:, 0]], linewidths=0)
        matrix.set(xlim=(-1, shown.num_nodes), ylim=(shown.num_nodes, -1))
    for axes in (*upper.flat, *lower.flat):
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_color("0.8")
    save_figure(figure, path)


def _layout_nodes(shown: GraphPlot, classes: Tensor) -> Tensor:
    """Where the nodes of the first graph come to rest, (N, 2), when they begin on a circle, by their class.

    Fruchterman and Reingold 1991: all nodes push each other away by 1 / distance, links draw together by its square,
    and a step grows shorter; what no link holds is drawn to the middle instead of flying off.
    """
    turn = (
        2
        * math.pi
        * (classes + torch.rand(shown.num_nodes, generator=rng.make_generator(0)))
        / (int(classes.max()) + 1)
    )
    places = torch.stack((turn.cos(), turn.sin()), 1)
    source, target = torch.cat((shown.graphs[0][1], shown.graphs[0][1].flip(1))).t()
    room = 2 / shown.num_nodes**0.5
    for step in torch.linspace(0.2, 0.0, LAYOUT_STEPS):
        push = room**2 / torch.cdist(places, places).clamp(min=room / 10).square()
        force = places * push.sum(1, keepdim=True) - push @ places - CENTER_PULL * places
        along = places[target] - places[source]
        force.index_add_(0, source, along * along.norm(dim=1, keepdim=True) / room)
        places += step * force / force.norm(dim=1, keepdim=True).clamp(min=1e-9)
    return places


def draw_point_cloud(shown: ScatterPlot, path: Path) -> None:
    """Points side by side over real ones, as a PNG."""
    plane = _fit_projection(shown)
    real = plane.project(shown.real)
    (left, low), (right, high) = real.min(0), real.max(0)
    room = 0.15 * max(right - left, high - low, 1e-9)
    figure = new_figure(max(3.2, 2.8 * len(shown.panels)), 3.7)
    axes_in_turn = figure.subplots(1, len(shown.panels), squeeze=False).flat
    for axes, (caption, points) in zip(axes_in_turn, shown.panels, strict=True):
        behind = axes.scatter(*real.T, s=3, c="0.7", linewidths=0)
        before = axes.scatter(*plane.project(points).T, s=3, c="tab:blue", linewidths=0)
        axes.set_title(caption, fontsize="medium", loc="left")
        axes.set(xlim=(left - room, right + room), ylim=(low - room, high + room))
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_color("0.8")
    figure.supxlabel(plane.x_label, fontsize="small")
    figure.supylabel(plane.y_label, fontsize="small")
    names = ["rows for training", "rows the model makes"]
    figure.legend([behind, before], names, loc="outside upper left", ncols=2, fontsize="small", frameon=False,
                  markerscale=3, columnspacing=1, handletextpad=0.2)  # fmt: skip
    save_figure(figure, path)


class Projection(NamedTuple):
    """Makes points (N, F) points of a plane (N, 2), and says what its axes are."""

    project: Callable[[Tensor], np.ndarray]
    x_label: str
    y_label: str


def _fit_projection(shown: ScatterPlot) -> Projection:
    """The one or two numbers that points have, or the two directions in which the real ones vary most."""
    real = shown.real.double()
    names = shown.columns if len(shown.columns) == real.shape[1] else [f"column {1 + n}" for n in range(real.shape[1])]
    names = [shorten_label(escape_control_chars(name, one_line=True), MAX_COLUMN_NAME_LENGTH) for name in names]
    if real.shape[1] <= 2:
        width = 2 - real.shape[1]
        return Projection(lambda points: np.pad(points.numpy(), ((0, 0), (0, width))), *names, *[""] * width)
    middle = real.mean(0)
    _, sizes, axes = torch.linalg.svd(real - middle, full_matrices=False)
    shares = sizes.square() / sizes.square().sum().clamp(min=1e-12)
    axes = torch.cat((axes[:2], axes.new_zeros(max(0, 2 - len(axes)), real.shape[1])))
    told = []
    for place, axis in enumerate(axes):
        most = [names[n] for n in axis.abs().argsort(descending=True)[:2].tolist() if axis[n]]
        share = float(shares[place]) if place < len(shares) else 0.0
        told.append(f"direction {place + 1}, {share:.0%} of the variance\nmostly {', '.join(most) or 'nothing'}")
    return Projection(lambda points: ((points.double() - middle) @ axes.T).numpy(), *told)


def write_array(shown: ArrayFile, path: Path) -> None:
    """Numbers as numpy's own file."""
    save_array(shown.values, path)


def save_array(values: Tensor, path: Path) -> None:
    """Writes numbers as numpy does, but through memory: of a failed write numpy tells the size and not the cause."""
    buffer = io.BytesIO()
    np.save(buffer, values.numpy())
    path.write_bytes(buffer.getvalue())


def write_csv(shown: Table, path: Path) -> None:
    """Rows under a header, as comma-separated values."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows((shown.columns, *shown.rows))


WRITERS: dict[type, Callable[[Any, Path], None]] = {
    ImageGrid: image_grid.draw_image_grid,
    ConfusionMatrix: draw_confusion_matrix,
    GraphPlot: draw_network,
    ScatterPlot: draw_point_cloud,
    ArrayFile: write_array,
    Table: write_csv,
    LineChart: plots.draw_chart,
}
