"""Graphs as batches: many as one that is not connected, the nodes of one, and one beside rows of another kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trainer.core.batch import Batch
from trainer.core.class_sizes import class_sizes
from trainer.core.dataset import FullBatchSplit, Split
from trainer.data.splits.ragged import Ragged
from trainer.utils.errors import ConfigError


def make_node_splits(inputs: Mapping[str, Tensor], target: Tensor, rows: Sequence[Tensor]) -> list[FullBatchSplit]:
    """A split for each of ``rows``: the whole graph, asked for the targets (N, ...) of those nodes alone."""
    return [FullBatchSplit(inputs, target[index], index) for index in rows]


def consecutive_node_split(nodes: int, labelled: int, val_nodes: int) -> tuple[Tensor, ...]:
    """The first ``labelled`` nodes to train on, the next to validate with, and all that are left to test on.

    Raises ConfigError where none is left.
    """
    test_nodes = nodes - labelled - val_nodes
    if test_nodes < 1:
        raise ConfigError(
            f"data.nodes: {nodes} nodes leave none to test after {labelled} labelled and {val_nodes} for validation"
        )
    return torch.arange(nodes).split([labelled, val_nodes, test_nodes])


def node_graph_sizes(x: Tensor, classes: int | None = None) -> dict[str, int]:
    """What a graph with node features x (N, F) publishes, and the number of classes of its nodes, if they have some."""
    nodes, width = x.shape
    sizes = {"in_features": width, "flat_features": width, "num_nodes": nodes}
    if classes is not None:
        sizes |= class_sizes(classes)
    return sizes


class GraphsSplit(Split):
    """Graphs of different sizes; a batch is their disjoint union.

    nodes: ``{"x": Ragged, ...}``, what nodes have, the first of them says how many each graph has. edges: Ragged
    (E, 2) of source and target, numbered within their graph. edge_inputs: ``{"edge_attr": Ragged, ...}``, what edges
    have. target: (G, ...). A batch holds the nodes and edges of its graphs end to end, ``edge_index`` (2, E) and
    ``sizes`` (G), the nodes of each graph, by which a model tells them apart.

    Raises ConfigError for a graph without a node.
    """

    def __init__(self, nodes: Mapping[str, Ragged], edges: Ragged, edge_inputs: Mapping[str, Ragged], target: Tensor):
        self.nodes = dict(nodes)
        self.edges = edges
        self.edge_inputs = dict(edge_inputs)
        self.target = target
        self.sizes = next(iter(self.nodes.values())).lengths
        assert all(torch.equal(part.lengths, self.sizes) for part in self.nodes.values()), "nodes differ in number"
        assert all(torch.equal(part.lengths, edges.lengths) for part in self.edge_inputs.values()), "edges differ"
        assert len(target) == len(edges) == len(self.sizes), "parts of one split differ in graphs"
        if len(self.sizes) and not self.sizes.min():
            raise ConfigError(f"data: graph {int(self.sizes.argmin())} has no node")

    def __len__(self) -> int:
        return len(self.target)

    def get_targets(self) -> Tensor:
        return self.target

    def _parts(self) -> list[Ragged]:
        return [*self.nodes.values(), self.edges, *self.edge_inputs.values()]

    def count_bytes(self) -> int:
        return self.target.nbytes + sum(part.values.nbytes for part in self._parts())

    def to(self, device: torch.device) -> GraphsSplit:
        def moved(parts: Mapping[str, Ragged]) -> dict[str, Ragged]:
            return {name: Ragged(part.values.to(device), part.lengths) for name, part in parts.items()}

        edges = moved({"": self.edges})[""]
        return GraphsSplit(moved(self.nodes), edges, moved(self.edge_inputs), self.target.to(device))

    def batch(self, index: Tensor, epoch: int) -> Batch:
        index = index.cpu()
        sizes = self.sizes[index]
        edges = self.edges.select_rows(index)
        device = edges.values.device
        first = (sizes.cumsum(0) - sizes).repeat_interleave(edges.lengths).to(device)
        inputs = {name: part.select_rows(index).values for name, part in self.nodes.items()}
        inputs["edge_index"] = (edges.values + first[:, None]).t().contiguous()
        inputs |= {name: part.select_rows(index).values for name, part in self.edge_inputs.items()}
        return Batch(inputs | {"sizes": sizes.to(device)}, self.target[index.to(device)], index)


class SplitWithSharedInputs(Split):
    """The rows of another split, with a graph (or whatever else) that every batch sees whole.

    The tensors are the same ones in every batch, so what a model makes of them is made once; workers never see them.
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
        finished = self.rows.to_model_inputs(batch)
        device = next(iter(finished.inputs.values())).device
        for name, value in self.shared_inputs.items():
            if value.device != device:
                self.shared_inputs[name] = value.to(device)
        return replace(finished, inputs=finished.inputs | self.shared_inputs)

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
