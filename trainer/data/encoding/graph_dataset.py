"""Base class of data sets of graphs whose features are used as they are, for graphs in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainer.core.batch import Batch
from trainer.core.dataset import Dataset
from trainer.core.shapes import parse_shapes
from trainer.core.split import FullBatchSplit, Split
from trainer.data.encoding.graph_objects import ROW_SCHEMA, list_graphs
from trainer.data.splits.graph_batches import GraphsSplit
from trainer.data.splits.ragged import Ragged
from trainer.utils.errors import DataError

EDGES, GRAPH_SIZES = "edge_index", "sizes"
"""Names of the endpoints of edges, and of the number of nodes of each graph, which several graphs have."""


class GraphDataset(Dataset):
    """Base class of data sets of nodes of a graph, or of graphs if ``sizes`` is among the inputs."""

    def encode_rows(self, rows: Any) -> Split:
        """Convert graphs to a split.

        Args:
            rows: Graph with the inputs of this data set as attributes, such as ``torch_geometric.data.Data``; or, for
                whole graphs, a list of them.

        Raises:
            DataError: An attribute is missing or has another shape.
        """
        graphs, example = list_graphs(rows), self._load_example()
        if GRAPH_SIZES not in example.inputs and len(graphs) > 1:
            raise DataError(f"rows: {len(graphs)} graphs given; the model predicts the nodes of one")
        dims = parse_shapes(self.shapes)
        assert dims is not None
        counted = {name: dims.inputs[name][0] for name in example.inputs if name not in (EDGES, GRAPH_SIZES)}
        parts = [_read_inputs(graph, example.inputs, f"graph {number}") for number, graph in enumerate(graphs, 1)]
        for number, part in enumerate(parts, 1):
            _check_lengths(part, counted, f"graph {number}")
        if GRAPH_SIZES not in example.inputs:
            return FullBatchSplit(parts[0], None)
        edges = Ragged.from_rows(part[EDGES].t() for part in parts)
        values = {name: Ragged.from_rows(part[name] for part in parts) for name in counted}
        nodes = {name: value for name, value in values.items() if counted[name] == "N"}
        return GraphsSplit(nodes, edges, {name: values[name] for name in values.keys() - nodes.keys()}, None)

    def row_schema(self) -> dict[str, Any]:
        return dict(ROW_SCHEMA)

    def _load_example(self) -> Batch:
        return self.test.to_model_inputs(self.test.batch(torch.zeros(1, dtype=torch.long), 0))


def _read_inputs(graph: Any, example: Mapping[str, Tensor], location: str) -> dict[str, Tensor]:
    """Return the inputs of a graph, with the types and widths of an example."""
    inputs = {}
    for name, value in example.items():
        if name == GRAPH_SIZES:
            continue
        if name not in graph:
            raise DataError(f"rows: {location}: {name} is missing")
        inputs[name] = _to_tensor(graph[name], value.dtype, f"{location}: {name}")
        shape, width = tuple(inputs[name].shape), tuple(value.shape[1:])
        if name == EDGES and len(shape) != 2:
            raise DataError(f"rows: {location}: {name} has the shape {shape}; it must be (2, E)")
        if name != EDGES and (shape[1:] != width or not shape):
            expected = ", ".join(["*", *map(str, width)])
            raise DataError(f"rows: {location}: {name} has the shape {shape}; it must be ({expected})")
    return inputs


def _to_tensor(values: Any, dtype: torch.dtype, location: str) -> Tensor:
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise DataError(f"rows: {location} is no array of numbers: {error}") from None
    if not dtype.is_floating_point and (tensor.is_floating_point() and tensor.numel()):
        raise DataError(f"rows: {location} has {tensor.dtype} values; it must have whole numbers")
    return tensor.to(dtype)


def _check_lengths(inputs: Mapping[str, Tensor], counted: Mapping[str, str], location: str) -> None:
    """Check that inputs have one row for each node or edge, and that edges connect nodes."""
    lengths = {"E": inputs[EDGES].shape[1]}
    for name, dim in counted.items():
        if lengths.setdefault(dim, len(inputs[name])) != len(inputs[name]):
            raise DataError(f"rows: {location}: {name} has {len(inputs[name])} rows instead of {lengths[dim]}")
    edges, nodes = inputs[EDGES], lengths.get("N", 0)
    if edges.numel() and not bool(((edges >= 0) & (edges < nodes)).all()):
        raise DataError(f"rows: {location}: edge_index has a node outside of 0..{nodes - 1}")
