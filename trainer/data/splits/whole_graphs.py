"""Splits and sizes of data sets whose rows are graphs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from trainer.data.splits.graph_batches import GraphsSplit


def make_graph_splits(graphs: GraphsSplit, rows: Iterable[Tensor]) -> list[GraphsSplit]:
    """Return a split of the graphs in each of ``rows``.

    Args:
        graphs: All graphs.
        rows: Graphs of each split.
    """
    return [graphs.select_graphs(index) for index in rows]


def graph_sizes(graphs: GraphsSplit, cardinalities: Sequence[int] | None = None) -> dict[str, Any]:
    """Return the sizes of graphs with node features ``x`` and optionally ``edge_attr``.

    Args:
        graphs: All graphs.
        cardinalities: Number of codes of each column of x; None for real features.
    """
    edge_attr = graphs.edge_inputs.get("edge_attr")
    return {
        "in_features": graphs.nodes["x"].values.shape[1],
        "cardinalities": None if cardinalities is None else list(cardinalities),
        "edge_features": 0 if edge_attr is None else edge_attr.values.shape[1],
    }
