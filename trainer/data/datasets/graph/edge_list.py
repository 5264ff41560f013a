"""Any graph, or graphs, in tables of the user's: edges.csv, nodes.csv and perhaps graphs.csv in one folder."""

from __future__ import annotations

from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from trainer.core.dataset import Data
from trainer.core.preprocessing import Preprocessing
from trainer.core.types import PositiveInt
from trainer.data.encoding import table_encoder
from trainer.data.readers.delimited import Table
from trainer.data.readers.edge_columns import Edges, joined
from trainer.data.readers.edge_tables import TableOptions, Tables, filled, places
from trainer.data.splits.graph_batches import GraphsSplit, node_sizes, of_nodes
from trainer.data.splits.neighbor_sampler import around
from trainer.data.splits.ragged import Ragged
from trainer.data.splits.whole_graphs import of_graphs, sizes
from trainer.utils.errors import ConfigError, did_you_mean


class EdgeList(Data):
    """nodes.csv: ``id``, the target and features; ``split`` says which nodes train, validate and test, else shares of
    those that have a target are cut. A node without one is a neighbour only. edges.csv: ``source`` and ``target``,
    perhaps ``weight``, ``type`` and features, of which the weight is one. What the tables lack is alike everywhere:
    weights 1, one type, a single feature 1 of edges; nodes without features have their degrees. Numbers of nodes are
    standardised by the training nodes. ``neighbours`` makes batches as ``NeighbourSplit`` says.
    """

    shapes = "x (N, F), edge_index (2, E), edge_weight (E), edge_attr (E, D), edge_type (E) -> (N, ...)"

    reads = ("nodes.csv", "edges.csv")

    def __init__(
        self,
        target_kind: str,
        neighbours: list[PositiveInt] | None,
        fitted: Preprocessing | None = None,
        **options: Unpack[TableOptions],
    ):
        self.fitted = fitted or Preprocessing()
        read = Tables(options, self.fitted)
        edges = joined(read)
        answer = read.answer(read.nodes, target_kind, gaps=True)
        parts = read.split(answer, "id")
        learned = read.learn(answer, parts[0])
        x = read.features(read.nodes, parts[0])
        inputs = {"x": edges.degrees(len(read.nodes)) if x is None else x, "edge_index": edges.ends}
        inputs |= edges.inputs(read, np.arange(len(read.edges)))
        train, self.val, self.test = of_nodes(inputs, learned.values, [torch.from_numpy(part) for part in parts])
        self.train = around(train, neighbours, options["seed"])
        of_edges = {"edge_features": inputs["edge_attr"].shape[1], "num_relations": edges.kinds}
        published = node_sizes(inputs["x"]) | of_edges
        self.facts = table_encoder.facts(answer, learned, self.train, self.test, published, read.lines)


class EdgeListGraphs(Data):
    """Tables as ``EdgeList`` reads, with a column ``graph`` in nodes.csv. The target, one for each graph, stands in
    graphs.csv beside a column ``graph``, or on every node of the graph; so does ``split``. Where edges.csv has a
    column ``graph`` too, ids of nodes need only differ within a graph. Numbers are standardised by the training graphs.
    """

    shapes = "x (N, F), edge_index (2, E), edge_weight (E), edge_attr (E, D), edge_type (E), sizes (G) -> (G, ...)"

    reads = ("nodes.csv", "edges.csv", "graphs.csv")

    def __init__(self, target_kind: str, fitted: Preprocessing | None = None, **options: Unpack[TableOptions]):
        self.fitted = fitted or Preprocessing()
        read = Tables(options, self.fitted)
        beside = (read.folder / "graphs.csv").exists()
        graphs = read.table("graphs.csv") if beside else _told_by_nodes(read.nodes, str(options["target"]))
        edges, of_node = joined(read), _members(read.nodes, graphs)
        of_edge = _homes(read.edges, edges, of_node)
        answer = read.answer(graphs, target_kind, gaps=False)
        parts = read.split(answer, "graph")
        learned = read.learn(answer, parts[0])

        in_train = torch.zeros(len(graphs), dtype=torch.bool)
        in_train[parts[0]] = True
        x = read.features(read.nodes, in_train[of_node].nonzero()[:, 0].numpy())
        inputs = {"x": edges.degrees(len(of_node)) if x is None else x}
        of_edges = edges.inputs(read, edges.line[in_train[of_edge]].unique().numpy())
        nodes = _by_graph(inputs["x"], of_node, len(graphs))
        ends = _by_graph(_within(of_node, nodes.lengths)[edges.ends].t(), of_edge, len(graphs))
        links = {name: _by_graph(value, of_edge, len(graphs)) for name, value in of_edges.items()}
        every = GraphsSplit({"x": nodes}, ends, links, learned.values)
        self.train, self.val, self.test = of_graphs(every, map(torch.from_numpy, parts))
        published = sizes(every) | {"num_relations": edges.kinds}
        self.facts = table_encoder.facts(answer, learned, self.train, self.test, published, read.lines)


def _told_by_nodes(nodes: Table, target: str) -> Table:
    """A row for each graph, from its first node. Raises ConfigError for nodes of a graph that differ in what it is."""
    told = [nodes.find(target, "data.target"), *(place for place, name in enumerate(nodes.names) if name == "split")]
    first: dict[str, int] = {}
    for row, graph in enumerate(filled(nodes, "graph")):
        before = first.setdefault(graph, row)
        for at in told:
            here, there = nodes.columns[at][row], nodes.columns[at][before]
            if here != there:
                raise ConfigError(
                    f"{nodes.where(row, at)}: graph {graph!r} is {here!r} here and {there!r} at row {before + 1};"
                    " all nodes of a graph say the same, or graphs.csv does"
                )
    columns = [tuple(column[row] for row in first.values()) for column in nodes.columns]
    return Table(nodes.names, columns, [nodes.lines[row] for row in first.values()], True, nodes.sources)


def _members(nodes: Table, graphs: Table) -> Tensor:
    """The graph of each node, (N,), by its row. Raises ConfigError for graphs that one table has alone, or twice."""
    place = {name: row for (name,), row in places(graphs, ["graph"]).items()}
    cells, at = filled(nodes, "graph"), nodes.find("graph", "data.path")
    for row, cell in enumerate(cells):
        if cell not in place:
            raise ConfigError(f"{nodes.where(row, at)}: no graph {cell!r} in {graphs.path}{did_you_mean(cell, place)}")
    empty = place.keys() - set(cells)
    if empty:
        row = min(place[name] for name in empty)
        where = graphs.where(row, graphs.find("graph", "data.path"))
        raise ConfigError(f"{where}: this graph has no node in {nodes.path}")
    return torch.tensor([place[cell] for cell in cells])


def _homes(table: Table, edges: Edges, of_node: Tensor) -> Tensor:
    """The graph of each edge, (E,). Raises ConfigError for an edge between two graphs."""
    source, target = of_node[edges.ends]
    across = (source != target).nonzero()
    if len(across):
        row = int(edges.line[across[0, 0]])
        raise ConfigError(
            f"{table.where(row, table.find('target', 'data.path'))}: this node is of another graph than its source"
        )
    return source


def _by_graph(values: Tensor, graph: Tensor, graphs: int) -> Ragged:
    """Values (K, ...) of each graph together, in the order they stand."""
    return Ragged(values[graph.argsort(stable=True)], graph.bincount(minlength=graphs))


def _within(graph: Tensor, sizes: Tensor) -> Tensor:
    """The number of each node within its graph, (N,)."""
    order = graph.argsort(stable=True)
    first = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return torch.empty_like(graph).index_copy(0, order, torch.arange(len(graph)) - first)
