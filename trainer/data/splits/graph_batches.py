"""Graph batching: disjoint unions of graphs, node subsets of one graph, and inputs shared by all batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trainer.core.batch import Batch
from trainer.core.class_sizes import class_sizes
from trainer.core.device_copy import copy_to_device
from trainer.core.prediction_columns import Column
from trainer.core.split import FullBatchSplit, Split
from trainer.data.splits.ragged import Ragged
from trainer.utils.errors import DataError


def make_node_splits(
    inputs: Mapping[str, Tensor],
    target: Tensor,
    rows: Sequence[Tensor],
    names: Mapping[str, Sequence[object]] | None = None,
) -> list[FullBatchSplit]:
    """Return a full-batch split for each of ``rows``, with outputs and targets (N, ...) at those nodes.

    Args:
        inputs: Inputs of the whole graph.
        target: Target of each node, (N, ...).
        rows: Nodes of each split.
        names: Columns (N,) that identify the nodes, by title; None for their numbers.
    """
    return [FullBatchSplit(inputs, target[index], index, names) for index in rows]


def consecutive_node_split(nodes: int, train_nodes: int, val_nodes: int) -> tuple[Tensor, ...]:
    """Split nodes in order: ``train_nodes`` for training, ``val_nodes`` for validation, the rest for test.

    Args:
        nodes: Number of nodes.
        train_nodes: Number of training nodes.
        val_nodes: Number of validation nodes.

    Raises:
        DataError: No test node is left.
    """
    test_nodes = nodes - train_nodes - val_nodes
    if test_nodes < 1:
        raise DataError(
            f"nodes: {nodes} nodes leave none for test after {train_nodes} for training and {val_nodes} for validation"
        )
    return torch.arange(nodes).split([train_nodes, val_nodes, test_nodes])


def node_graph_sizes(x: Tensor, classes: int | None = None) -> dict[str, int]:
    """Return the sizes of a graph with node features x (N, F) and optionally node classes.

    Args:
        x: Node features, (N, F).
        classes: Number of node classes, if any.
    """
    nodes, width = x.shape
    sizes = {"in_features": width, "flat_features": width, "num_nodes": nodes}
    if classes is not None:
        sizes |= class_sizes(classes)
    return sizes


class GraphsSplit(Split):
    """Split of graphs of different sizes; a batch is their disjoint union.

    A batch concatenates the nodes and edges of its graphs, with ``edge_index`` (2, E) and ``sizes`` (G), the number of
    nodes of each graph.

    Args:
        nodes: Node inputs ``{"x": Ragged, ...}``; the first gives the number of nodes of each graph.
        edges: Ragged (E, 2) of source and target, indexed within their graph.
        edge_inputs: Edge inputs ``{"edge_attr": Ragged, ...}``.
        target: Targets (G, ...); None if there are none.
        names: Title and names of the graphs; None for their numbers.

    Raises:
        DataError: A graph has no nodes.
    """

    def __init__(
        self,
        nodes: Mapping[str, Ragged],
        edges: Ragged,
        edge_inputs: Mapping[str, Ragged],
        target: Tensor | None,
        names: tuple[str, Sequence[object]] | None = None,
    ):
        self.names = names
        self.nodes = dict(nodes)
        self.edges = edges
        self.edge_inputs = dict(edge_inputs)
        self.target = target
        self.sizes = next(iter(self.nodes.values())).lengths
        assert all(torch.equal(part.lengths, self.sizes) for part in self.nodes.values()), "nodes differ in number"
        assert all(torch.equal(part.lengths, edges.lengths) for part in self.edge_inputs.values()), "edges differ"
        assert len(edges) == len(self.sizes), "nodes and edges differ in graphs"
        assert target is None or len(target) == len(self.sizes), "targets differ in graphs"
        if len(self.sizes) and not self.sizes.min():
            raise DataError(f"graph {int(self.sizes.argmin())} has no node")

    def __len__(self) -> int:
        return len(self.sizes)

    def get_targets(self) -> Tensor | None:
        return self.target

    def require_target(self) -> Tensor:
        """Return the targets.

        Raises:
            ValueError: There are none.
        """
        if self.target is None:
            raise ValueError("these graphs have no targets")
        return self.target

    def get_row_names(self, first: int) -> tuple[str, Sequence[object]]:
        return super().get_row_names(first) if self.names is None else self.names

    def select_graphs(self, index: Tensor) -> GraphsSplit:
        """Return the split of some graphs.

        Args:
            index: Their numbers (K,).
        """
        return GraphsSplit(
            {name: part.select_rows(index) for name, part in self.nodes.items()},
            self.edges.select_rows(index),
            {name: part.select_rows(index) for name, part in self.edge_inputs.items()},
            None if self.target is None else self.target[index],
            None if self.names is None else (self.names[0], [self.names[1][graph] for graph in index.tolist()]),
        )

    def _parts(self) -> list[Ragged]:
        return [*self.nodes.values(), self.edges, *self.edge_inputs.values()]

    def count_bytes(self) -> int:
        size = 0 if self.target is None else self.target.nbytes
        return size + sum(part.values.nbytes for part in self._parts())

    def to(self, device: torch.device) -> GraphsSplit:
        def move_all(parts: Mapping[str, Ragged]) -> dict[str, Ragged]:
            return {name: Ragged(part.values.to(device), part.lengths) for name, part in parts.items()}

        edges = move_all({"": self.edges})[""]
        target = None if self.target is None else self.target.to(device)
        return GraphsSplit(move_all(self.nodes), edges, move_all(self.edge_inputs), target, self.names)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        index = index.cpu()
        sizes = self.sizes[index]
        edges = self.edges.select_rows(index)
        device = edges.values.device
        first = copy_to_device((sizes.cumsum(0) - sizes).repeat_interleave(edges.lengths), device)
        inputs = {name: part.select_rows(index).values for name, part in self.nodes.items()}
        inputs["edge_index"] = (edges.values + first[:, None]).t().contiguous()
        inputs |= {name: part.select_rows(index).values for name, part in self.edge_inputs.items()}
        target = None if self.target is None else self.target[copy_to_device(index, device)]
        return Batch(inputs | {"sizes": copy_to_device(sizes, device)}, target, index)


class SplitWithSharedInputs(Split):
    """Wrapper that adds shared inputs, such as a graph, to every batch of another split.

    All batches have the same tensors, so that models can cache what they derive from them; they are not sent through
    workers.

    Args:
        rows: Split that is wrapped.
        shared: Inputs added to every batch.
    """

    def __init__(self, rows: Split, shared: Mapping[str, Tensor]):
        self.rows = rows
        self.shared_inputs = dict(shared)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        return self.rows.batch(index, epoch)

    def iter_batches(self, order: Sequence[Tensor], epoch: int) -> Iterator[Batch]:
        return self.rows.iter_batches(order, epoch)

    def to_model_inputs(self, batch: Batch) -> Batch:
        batch_inputs = self.rows.to_model_inputs(batch)
        device = next(iter(batch_inputs.inputs.values())).device
        for name, value in self.shared_inputs.items():
            if value.device != device:
                self.shared_inputs[name] = value.to(device)
        return replace(batch_inputs, inputs=batch_inputs.inputs | self.shared_inputs)

    def get_row_names(self, first: int) -> tuple[str, Sequence[object]]:
        return self.rows.get_row_names(first)

    def get_output_columns(self, first: int) -> dict[str, Column]:
        return self.rows.get_output_columns(first)

    def get_targets(self) -> Tensor | None:
        return self.rows.get_targets()

    def get_lengths(self) -> Tensor | None:
        return self.rows.get_lengths()

    def count_bytes(self) -> int | None:
        size = self.rows.count_bytes()
        return None if size is None else size + sum(value.nbytes for value in self.shared_inputs.values())

    def to(self, device: torch.device) -> SplitWithSharedInputs:
        return SplitWithSharedInputs(
            self.rows.to(device), {name: value.to(device) for name, value in self.shared_inputs.items()}
        )
