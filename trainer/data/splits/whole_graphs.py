"""Data sets whose rows are graphs: parts of them, and what they say of their sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from trainer.data.splits.graph_batches import GraphsSplit


def make_graph_splits(whole: GraphsSplit, rows: Iterable[Tensor]) -> list[GraphsSplit]:
    """A split for each of ``rows``, with those graphs alone."""
    return [
        GraphsSplit(
            {name: part.select_rows(index) for name, part in whole.nodes.items()},
            whole.edges.select_rows(index),
            {name: part.select_rows(index) for name, part in whole.edge_inputs.items()},
            whole.target[index],
        )
        for index in rows
    ]


def graph_sizes(whole: GraphsSplit, cardinalities: Sequence[int] | None = None) -> dict[str, Any]:
    """What graphs with node features ``x`` and perhaps ``edge_attr`` publish.

    cardinalities: how many codes each column of x has; None where x are real numbers.
    """
    edge_attr = whole.edge_inputs.get("edge_attr")
    return {
        "in_features": whole.nodes["x"].values.shape[1],
        "cardinalities": None if cardinalities is None else list(cardinalities),
        "edge_features": 0 if edge_attr is None else edge_attr.values.shape[1],
    }
