"""Any graph, or graphs, in tables of the user's: edges.csv, nodes.csv and perhaps graphs.csv in one folder."""

from __future__ import annotations

from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from trainer.core.dataset import Dataset
from trainer.core.preprocessing import Preprocessing
from trainer.core.types import PositiveInt
from trainer.data.encoding import table_encoder
from trainer.data.readers.delimited import Table
from trainer.data.readers.edge_columns import Edges, read_edges
from trainer.data.readers.edge_tables import GraphTables, TableDefaults, TableOptions, index_rows, read_full_column
from trainer.data.splits.graph_batches import GraphsSplit, make_node_splits, node_graph_sizes
from trainer.data.splits.neighbor_sampler import neighbor_batches
from trainer.data.splits.ragged import Ragged
from trainer.data.splits.whole_graphs import graph_sizes, make_graph_splits
from trainer.utils.errors import ConfigError, did_you_mean


class EdgeList(TableDefaults, Dataset):
    """nodes.csv: ``id``, the target and features; ``split`` says which nodes train, validate and test, else shares of
    those that have a target are cut. A node without one is a neighbour only. edges.csv: ``source`` and ``target``,
    perhaps ``weight``, ``type`` and features, of which the weight is one. What the tables lack is alike everywhere:
    weights 1, one type, a single feature 1 of edges; nodes without features have their degrees. Numbers of nodes are
    standardised by the training nodes. ``neighbours`` makes batches as ``NeighborSplit`` says.
    """

    shapes = "x (N, F), edge_index (2, E), edge_weight (E), edge_attr (E, D), edge_type (E) -> (N, ...)"

    file_suffixes = ("nodes.csv", "edges.csv")

    def __init__(
        self,
        target_kind: str,
        neighbours: list[PositiveInt] | None = None,
        fitted: Preprocessing | None = None,
        **options: Unpack[TableOptions],
    ):
        self.fitted = fitted or Preprocessing()
        read = GraphTables(options, self.fitted)
        edges = read_edges(read)
        answer = read.read_target(read.nodes, target_kind, gaps=True)
        parts = read.split_rows(answer, "id")
        learned = read.fit_target(answer, parts[0])
        x = read.encode_features(read.nodes, parts[0])
        inputs = {"x": edges.node_degrees(len(read.nodes)) if x is None else x, "edge_index": edges.endpoints}
        inputs |= edges.edge_inputs(read, np.arange(len(read.edges)))
        train, self.val, self.test = make_node_splits(
            inputs, learned.values, [torch.from_numpy(part) for part in parts]
        )
        self.train = neighbor_batches(train, neighbours, read.options["seed"])
        of_edges = {"edge_features": inputs["edge_attr"].shape[1], "num_relations": edges.num_edge_types}
        published = node_graph_sizes(inputs["x"]) | of_edges
        self.info = table_encoder.make_info(answer, learned, self.train, self.test, published, read.lines)


class EdgeListGraphs(TableDefaults, Dataset):
    """Tables as ``EdgeList`` reads, with a column ``graph`` in nodes.csv. The target, one for each graph, stands in
    graphs.csv beside a column ``graph``, or on every node of the graph; so does ``split``. Where edges.csv has a
    column ``graph`` too, ids of nodes need only differ within a graph. Numbers are standardised by the training graphs.
    """

    shapes = "x (N, F), edge_index (2, E), edge_weight (E), edge_attr (E, D), edge_type (E), sizes (G) -> (G, ...)"

    file_suffixes = ("nodes.csv", "edges.csv", "graphs.csv")

    def __init__(self, target_kind: str, fitted: Preprocessing | None = None, **options: Unpack[TableOptions]):
        self.fitted = fitted or Preprocessing()
        read = GraphTables(options, self.fitted)
        beside = (read.folder / "graphs.csv").exists()
        graphs = (
            read.read_table("graphs.csv") if beside else _graph_table_from_nodes(read.nodes, str(options["target"]))
        )
        edges, of_node = read_edges(read), _graph_of_nodes(read.nodes, graphs)
        of_edge = _graph_of_edges(read.edges, edges, of_node)
        answer = read.read_target(graphs, target_kind, gaps=False)
        parts = read.split_rows(answer, "graph")
        learned = read.fit_target(answer, parts[0])

        in_train = torch.zeros(len(graphs), dtype=torch.bool)
        in_train[parts[0]] = True
        x = read.encode_features(read.nodes, in_train[of_node].nonzero()[:, 0].numpy())
        inputs = {"x": edges.node_degrees(len(of_node)) if x is None else x}
        of_edges = edges.edge_inputs(read, edges.line[in_train[of_edge]].unique().numpy())
        nodes = _group_by_graph(inputs["x"], of_node, len(graphs))
        ends = _group_by_graph(_index_within_graph(of_node, nodes.lengths)[edges.endpoints].t(), of_edge, len(graphs))
        links = {name: _group_by_graph(value, of_edge, len(graphs)) for name, value in of_edges.items()}
        every = GraphsSplit({"x": nodes}, ends, links, learned.values)
        self.train, self.val, self.test = make_graph_splits(every, map(torch.from_numpy, parts))
        published = graph_sizes(every) | {"num_relations": edges.num_edge_types}
        self.info = table_encoder.make_info(answer, learned, self.train, self.test, published, read.lines)


def _graph_table_from_nodes(nodes: Table, target: str) -> Table:
    """A row for each graph, from its first node. Raises ConfigError for nodes of a graph that differ in what it is."""
    told = [
        nodes.find_column(target, "data.target"),
        *(place for place, name in enumerate(nodes.names) if name == "split"),
    ]
    first: dict[str, int] = {}
    for row, graph in enumerate(read_full_column(nodes, "graph")):
        before = first.setdefault(graph, row)
        for at in told:
            here, there = nodes.columns[at][row], nodes.columns[at][before]
            if here != there:
                raise ConfigError(
                    f"{nodes.describe_cell(row, at)}: graph {graph!r} is {here!r} here and {there!r} at row "
                    f"{before + 1};"
                    " all nodes of a graph say the same, or graphs.csv does"
                )
    columns = [tuple(column[row] for row in first.values()) for column in nodes.columns]
    return Table(nodes.names, columns, [nodes.lines[row] for row in first.values()], True, nodes.sources)


def _graph_of_nodes(nodes: Table, graphs: Table) -> Tensor:
    """The graph of each node, (N,), by its row. Raises ConfigError for graphs that one table has alone, or twice."""
    place = {name: row for (name,), row in index_rows(graphs, ["graph"]).items()}
    cells, at = read_full_column(nodes, "graph"), nodes.find_column("graph", "data.path")
    for row, cell in enumerate(cells):
        if cell not in place:
            raise ConfigError(
                f"{nodes.describe_cell(row, at)}: no graph {cell!r} in {graphs.path}{did_you_mean(cell, place)}"
            )
    empty = place.keys() - set(cells)
    if empty:
        row = min(place[name] for name in empty)
        where = graphs.describe_cell(row, graphs.find_column("graph", "data.path"))
        raise ConfigError(f"{where}: this graph has no node in {nodes.path}")
    return torch.tensor([place[cell] for cell in cells])


def _graph_of_edges(table: Table, edges: Edges, of_node: Tensor) -> Tensor:
    """The graph of each edge, (E,). Raises ConfigError for an edge between two graphs."""
    source, target = of_node[edges.endpoints]
    across = (source != target).nonzero()
    if len(across):
        row = int(edges.line[across[0, 0]])
        raise ConfigError(
            f"{table.describe_cell(row, table.find_column('target', 'data.path'))}: this node is of another "
            "graph than its source"
        )
    return source


def _group_by_graph(values: Tensor, graph: Tensor, graphs: int) -> Ragged:
    """Values (K, ...) of each graph together, in the order they stand."""
    return Ragged(values[graph.argsort(stable=True)], graph.bincount(minlength=graphs))


def _index_within_graph(graph: Tensor, sizes: Tensor) -> Tensor:
    """The number of each node within its graph, (N,)."""
    order = graph.argsort(stable=True)
    first = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return torch.empty_like(graph).index_copy(0, order, torch.arange(len(graph)) - first)
