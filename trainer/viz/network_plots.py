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


def draw_network(plot: GraphPlot, path: Path) -> None:
    """Draw graphs side by side as a PNG, each with a spring layout and as an adjacency matrix.

    Args:
        plot: Graphs with the same nodes; the layout is that of the first graph, colors are node classes.
        path: File to write.
    """
    from matplotlib.collections import LineCollection

    classes = torch.zeros(plot.num_nodes, dtype=torch.long) if plot.node_classes is None else plot.node_classes
    colors = image_grid.DARK_CLASS_COLORS[classes % len(image_grid.DARK_CLASS_COLORS)].numpy() / 255
    positions, rank = _layout_nodes(plot, classes).numpy(), classes.argsort(stable=True).argsort().numpy()
    figure = new_figure(5.3 * len(plot.graphs), 9.6)
    upper, lower = figure.subplots(2, len(plot.graphs), squeeze=False)
    for (caption, edge_list), graph_axes, matrix_axes in zip(plot.graphs, upper, lower, strict=True):
        edges = np.concatenate((edge_list.numpy(), edge_list.flip(1).numpy()))
        graph_axes.add_collection(
            LineCollection(positions[edge_list.numpy()], colors="0.5", linewidths=0.4, alpha=0.5, zorder=1)
        )
        graph_axes.scatter(*positions.T, s=6000 / (plot.num_nodes + 100), c=colors, linewidths=0, zorder=2)
        graph_axes.set_title(caption, fontsize="medium", loc="left")
        matrix_axes.scatter(*rank[edges].T, s=1500 / (plot.num_nodes + 100), c=colors[edges[:, 0]], linewidths=0)
        matrix_axes.set(xlim=(-1, plot.num_nodes), ylim=(plot.num_nodes, -1))
    for axes in (*upper.flat, *lower.flat):
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_color("0.8")
    save_figure(figure, path)


def _layout_nodes(plot: GraphPlot, classes: Tensor) -> Tensor:
    """Return a spring layout (N, 2) of the first graph, starting from a circle ordered by class.

    Nodes repel each other by 1 / distance, edges attract by the squared distance, the step size decreases, and a weak
    pull to the center keeps isolated nodes in view.

    References:
        Fruchterman and Reingold, "Graph drawing by force-directed placement", Software: Practice and Experience 1991.
    """
    angle = (
        2 * math.pi * (classes + torch.rand(plot.num_nodes, generator=rng.make_generator(0))) / (int(classes.max()) + 1)
    )
    positions = torch.stack((angle.cos(), angle.sin()), 1)
    source, target = torch.cat((plot.graphs[0][1], plot.graphs[0][1].flip(1))).t()
    spacing = 2 / plot.num_nodes**0.5
    for step in torch.linspace(0.2, 0.0, LAYOUT_STEPS):
        repulsion = spacing**2 / torch.cdist(positions, positions).clamp(min=spacing / 10).square()
        force = positions * repulsion.sum(1, keepdim=True) - repulsion @ positions - CENTER_PULL * positions
        difference = positions[target] - positions[source]
        force.index_add_(0, source, difference * difference.norm(dim=1, keepdim=True) / spacing)
        positions += step * force / force.norm(dim=1, keepdim=True).clamp(min=1e-9)
    return positions
