"""Pictures of a run. matplotlib is imported only here, and without a window system."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer import atomic, seeding, sheets
from trainer.gallery import Array, Cloud, Item, Matrix, Network, Sheet, Table

STEPS, HELD = 60, 5.0
"""Until the nodes of a drawn graph stand still, and how strongly the middle holds them."""


def draw(items: Iterable[Item], folder: Path) -> list[Path]:
    """Draws each item into a file of its name; gives the paths. Raises SystemFault where it cannot be written."""
    paths = []
    for item in items:
        paths.append(folder / f"{item.name}.{item.suffix}")
        with atomic.written(paths[-1]):
            paths[-1].parent.mkdir(exist_ok=True)
        with atomic.replaced(paths[-1]) as temporary:
            DRAWN_BY[type(item)](item, temporary)
    return paths


def curves(history: Sequence[Mapping[str, Any]], monitor: str, path: Path) -> None:
    """Training loss, monitored validation score and learning rate over steps, side by side, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rates = [name for name in history[0] if name.startswith("lr_")]
    panels = [
        ("training loss", ["train_loss"]),
        (f"validation {monitor}", [f"val_{monitor}"]),
        ("learning rate", rates),
    ]
    figure = Figure(figsize=(11, 3.2))
    # Fixed margins: a layout engine would draw everything twice to find them.
    figure.subplots_adjust(left=0.05, right=0.99, top=0.9, bottom=0.15, wspace=0.22)
    FigureCanvasAgg(figure)
    steps = [row["step"] for row in history]
    for axes, (title, names) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for name in names:
            axes.plot(steps, [row[name] for row in history], marker="o" if len(steps) < 30 else "", label=name)
        if len(names) > 1:
            axes.legend(fontsize="small")
        axes.set_title(title, fontsize="medium", loc="left")
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def matrix(shown: Matrix, path: Path) -> None:
    """Shares of each row as shades with their counts, as a PNG; what is never right or always right stands out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts, labels = shown.counts, list(shown.labels)
    side = 1.6 + 0.42 * len(labels)
    figure = Figure(figsize=(side, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    for (truth, taken), count in ((place.tolist(), int(counts[tuple(place)])) for place in counts.nonzero()):
        shade = "white" if shares[truth, taken] > 0.5 else "black"
        axes.text(taken, truth, str(count), ha="center", va="center", color=shade, fontsize="x-small")
    axes.set_xticks(range(len(labels)), labels, rotation=90 if max(map(len, labels)) > 2 else 0, fontsize="small")
    axes.set_yticks(range(len(labels)), labels, fontsize="small")
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    figure.savefig(path, dpi=110)


def network(shown: Network, path: Path) -> None:
    """Graphs side by side, laid out by springs along the links of the first, and as matrices, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    classes = torch.zeros(shown.nodes, dtype=torch.long) if shown.classes is None else shown.classes
    colours = sheets.DARK[classes % len(sheets.DARK)].numpy() / 255
    places, rank = _places(shown, classes).numpy(), classes.argsort(stable=True).argsort().numpy()
    figure = Figure(figsize=(5.3 * len(shown.graphs), 9.6), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, len(shown.graphs), squeeze=False)
    for (caption, links), points, matrix in zip(shown.graphs, upper, lower, strict=True):
        ends = np.concatenate((links.numpy(), links.flip(1).numpy()))
        points.add_collection(LineCollection(places[links.numpy()], colors="0.5", linewidths=0.4, alpha=0.5, zorder=1))
        points.scatter(*places.T, s=6000 / (shown.nodes + 100), c=colours, linewidths=0, zorder=2)
        points.set_title(caption, fontsize="medium", loc="left")
        matrix.scatter(*rank[ends].T, s=1500 / (shown.nodes + 100), c=colours[ends[:, 0]], linewidths=0)
        matrix.set(xlim=(-1, shown.nodes), ylim=(shown.nodes, -1))
    for axes in (*upper.flat, *lower.flat):
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_color("0.8")
    figure.savefig(path, dpi=110)


def _places(shown: Network, classes: Tensor) -> Tensor:
    """Where the nodes of the first graph come to rest, (N, 2), when they begin on a circle, by their class.

    Fruchterman and Reingold 1991: all nodes push each other away by 1 / distance, links draw together by its square,
    and a step grows shorter; what no link holds is drawn to the middle instead of flying off.
    """
    turn = 2 * math.pi * (classes + torch.rand(shown.nodes, generator=seeding.generator(0))) / (int(classes.max()) + 1)
    places = torch.stack((turn.cos(), turn.sin()), 1)
    source, target = torch.cat((shown.graphs[0][1], shown.graphs[0][1].flip(1))).t()
    room = 2 / shown.nodes**0.5
    for step in torch.linspace(0.2, 0.0, STEPS):
        push = room**2 / torch.cdist(places, places).clamp(min=room / 10).square()
        force = places * push.sum(1, keepdim=True) - push @ places - HELD * places
        along = places[target] - places[source]
        force.index_add_(0, source, along * along.norm(dim=1, keepdim=True) / room)
        places += step * force / force.norm(dim=1, keepdim=True).clamp(min=1e-9)
    return places


def cloud(shown: Cloud, path: Path) -> None:
    """Points side by side over real ones, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    flat = _plane(shown.real)
    real = flat(shown.real)
    (left, low), (right, high) = real.min(0), real.max(0)
    room = 0.15 * max(right - left, high - low, 1e-9)
    figure = Figure(figsize=(2.8 * len(shown.panels), 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes_in_turn = figure.subplots(1, len(shown.panels), squeeze=False).flat
    for axes, (caption, points) in zip(axes_in_turn, shown.panels, strict=True):
        axes.scatter(*real.T, s=3, c="0.8", linewidths=0)
        axes.scatter(*flat(points).T, s=3, c="tab:blue", linewidths=0)
        axes.set_title(caption, fontsize="medium", loc="left")
        axes.set(xlim=(left - room, right + room), ylim=(low - room, high + room))
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_color("0.8")
    figure.savefig(path, dpi=110)


def _plane(real: Tensor) -> Callable[[Tensor], np.ndarray]:
    """Points (N, F) as points of a plane (N, 2): themselves, or by the two directions in which real ones vary most."""
    if real.shape[1] == 2:
        return lambda points: points.numpy()
    middle = real.double().mean(0)
    axes = torch.linalg.svd(real.double() - middle, full_matrices=False).Vh[:2]
    axes = torch.cat((axes, axes.new_zeros(2 - len(axes), real.shape[1])))
    return lambda points: ((points.double() - middle) @ axes.T).numpy()


def array(shown: Array, path: Path) -> None:
    """Numbers as numpy's own file."""
    save_array(shown.values, path)


def save_array(values: Tensor, path: Path) -> None:
    """Writes numbers as numpy does, but through memory: of a failed write numpy tells the size and not the cause."""
    buffer = io.BytesIO()
    np.save(buffer, values.numpy())
    path.write_bytes(buffer.getvalue())


def table(shown: Table, path: Path) -> None:
    """Rows under a header, as comma-separated values."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows((shown.columns, *shown.rows))


DRAWN_BY: dict[type, Callable[[Any, Path], None]] = {
    Sheet: sheets.draw,
    Matrix: matrix,
    Network: network,
    Cloud: cloud,
    Array: array,
    Table: table,
}
