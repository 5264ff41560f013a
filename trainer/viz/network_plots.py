"""Plots of graphs: spring layouts and adjacency matrices."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.artifacts import GraphPlot
from trainer.viz import image_grid
from trainer.viz.matplotlib_figures import new_figure, save_figure

LAYOUT_STEPS, CENTER_PULL = 60, 5.0
"""Iterations of the spring layout, and the strength of the pull to its center."""


def draw_network(shown: GraphPlot, path: Path) -> None:
    """Draw graphs side by side as a PNG, with a spring layout and as adjacency matrices."""
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
