"""Graphs in tables: edges.csv, nodes.csv and optionally graphs.csv in one directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Unpack

import numpy as np
import torch
from torch import Tensor

from trainer.core.preprocessing import Preprocessing
from trainer.core.split import FullBatchSplit
from trainer.core.types import PositiveInt
from trainer.data.encoding import table_encoder
from trainer.data.encoding.tabular_graphs import TabularGraphs
from trainer.data.readers.edge_columns import Edges, read_edges
from trainer.data.readers.edge_table_options import TableDefaults, TableOptions
from trainer.data.readers.edge_tables import REUSABLE_VALUES, GraphTables, index_rows, read_full_column
from trainer.data.readers.table import Table
from trainer.data.splits.graph_batches import GraphsSplit, make_node_splits, node_graph_sizes
from trainer.data.splits.neighbor_sampler import neighbor_batches
from trainer.data.splits.ragged import Ragged
from trainer.data.splits.whole_graphs import graph_sizes, make_graph_splits
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean


class EdgeList(TableDefaults, TabularGraphs):
    """Node classification or regression on one graph, read from nodes.csv and edges.csv.

    nodes.csv has ``id``, the target and features. A column ``split`` assigns nodes to splits; without it, labeled nodes
    are split at random by fractions. Unlabeled nodes serve as neighbors only. edges.csv has ``source`` and ``target``,
    optionally ``weight``, ``type`` and features; the weight is also a feature. Defaults: weight 1, one edge type, a
    single edge feature 1, node degrees as node features. Numeric node features are standardized by the training nodes.

    Args:
        target_kind: Read the target as a class or as a number; None follows ``task_target``.
        num_neighbors: Number of sampled neighbors per layer, see ``NeighborSplit``; None for full-batch training.
        fitted: Preprocessing of a saved run; None fits it to the training rows.
        task_target: Kind of target that the task needs; None if it takes both.
        **options: Directory, columns and format of the tables, see ``TableOptions``.
    """

    shapes = "x (N, F), edge_index (2, E), edge_weight (E), edge_attr (E, D), edge_type (E) -> (N, ...)"

    file_suffixes = ("nodes.csv", "edges.csv")
    reusable_values = REUSABLE_VALUES

    def __init__(
        self,
        target_kind: Literal["class", "number"] | None = None,
        num_neighbors: list[PositiveInt] | None = None,
        fitted: Preprocessing | None = None,
        task_target: Literal["class", "number"] | None = None,
        **options: Unpack[TableOptions],
    ):
        self.fitted = fitted or Preprocessing()
        self.options = options
        tables = GraphTables(options, self.fitted)
        edges = read_edges(tables)
        labels = tables.read_target(tables.nodes, target_kind, task_target, gaps=True)
        parts = tables.split_rows(labels, "id")
        encoded = tables.fit_target(labels, parts[0])
        x = tables.encode_features(tables.nodes, parts[0])
        inputs = {"x": edges.node_degrees(len(tables.nodes)) if x is None else x, "edge_index": edges.endpoints}
        inputs |= edges.edge_inputs(tables, np.arange(len(tables.edges)))
        rows = [torch.from_numpy(part) for part in parts]
        train, self.val, self.test = make_node_splits(inputs, encoded.values, rows, _name_nodes(tables.nodes))
        self.train = neighbor_batches(train, num_neighbors, tables.options["seed"])
        edge_sizes = {"edge_features": inputs["edge_attr"].shape[1], "num_relations": edges.num_edge_types}
        sizes = node_graph_sizes(inputs["x"]) | edge_sizes
        self.info = table_encoder.make_info(labels, encoded, self.train, self.test, sizes, tables.lines)

    def encode_graph(self, tables: GraphTables, with_targets: bool) -> FullBatchSplit:
        edges = read_edges(tables)
        x = tables.encode_as_stored(tables.nodes)
        inputs = {"x": edges.node_degrees(len(tables.nodes)) if x is None else x, "edge_index": edges.endpoints}
        inputs |= edges.edge_inputs_as_stored(tables)
        names = _name_nodes(tables.nodes)
        if not with_targets:
            return FullBatchSplit(inputs, None, None, names)
        labels = tables.read_target(tables.nodes, None, None, gaps=True)
        rows = torch.from_numpy(labels.known_mask).nonzero()[:, 0]
        if not len(rows):
            raise DataError(f"input: {tables.nodes.path} has no node with a target")
        return FullBatchSplit(inputs, tables.fit_target(labels, rows.numpy()).values[rows], rows, names)


class EdgeListGraphs(TableDefaults, TabularGraphs):
    """Graph classification or regression, with the tables of ``EdgeList``.

    nodes.csv has a column ``graph``. The target of each graph and its ``split`` are in graphs.csv with a column
    ``graph``, or repeated on every node of the graph. Where edges.csv also has a column ``graph``, node ids need to be
    unique only within a graph. Numeric features are standardized by the training graphs.

    Args:
        target_kind: Read the target as a class or as a number; None follows ``task_target``.
        fitted: Preprocessing of a saved run; None fits it to the training rows.
        task_target: Kind of target that the task needs; None if it takes both.
        **options: Directory, columns and format of the tables, see ``TableOptions``.
    """

    shapes = "x (N, F), edge_index (2, E), edge_weight (E), edge_attr (E, D), edge_type (E), sizes (G) -> (G, ...)"

    file_suffixes = ("nodes.csv", "edges.csv", "graphs.csv")
    reusable_values = REUSABLE_VALUES

    def __init__(
        self,
        target_kind: Literal["class", "number"] | None = None,
        fitted: Preprocessing | None = None,
        task_target: Literal["class", "number"] | None = None,
        **options: Unpack[TableOptions],
    ):
        self.fitted = fitted or Preprocessing()
        self.options = options
        tables = GraphTables(options, self.fitted)
        graphs = (
            tables.read_table("graphs.csv")
            if tables.has_table("graphs.csv")
            else _graph_table_from_nodes(tables.nodes, [str(options["target"])])
        )
        edges, graph_of_node = read_edges(tables), _graph_of_nodes(tables.nodes, graphs)
        graph_of_edge = _graph_of_edges(tables.edges, edges, graph_of_node)
        labels = tables.read_target(graphs, target_kind, task_target, gaps=False)
        parts = tables.split_rows(labels, "graph")
        encoded = tables.fit_target(labels, parts[0])

        in_train = torch.zeros(len(graphs), dtype=torch.bool)
        in_train[parts[0]] = True
        x = tables.encode_features(tables.nodes, in_train[graph_of_node].nonzero()[:, 0].numpy())
        x = edges.node_degrees(len(graph_of_node)) if x is None else x
        edge_inputs = edges.edge_inputs(tables, edges.line[in_train[graph_of_edge]].unique().numpy())
        all_graphs = _split_graphs(graphs, x, graph_of_node, edges, edge_inputs, encoded.values)
        self.train, self.val, self.test = make_graph_splits(all_graphs, map(torch.from_numpy, parts))
        sizes = graph_sizes(all_graphs) | {"num_relations": edges.num_edge_types}
        self.info = table_encoder.make_info(labels, encoded, self.train, self.test, sizes, tables.lines)

    def encode_graph(self, tables: GraphTables, with_targets: bool) -> GraphsSplit:
        target_columns = [str(self.options["target"])] if with_targets else []
        graphs = (
            tables.read_table("graphs.csv")
            if tables.has_table("graphs.csv")
            else _graph_table_from_nodes(tables.nodes, target_columns)
        )
        edges, graph_of_node = read_edges(tables), _graph_of_nodes(tables.nodes, graphs)
        _graph_of_edges(tables.edges, edges, graph_of_node)
        x = tables.encode_as_stored(tables.nodes)
        x = edges.node_degrees(len(graph_of_node)) if x is None else x
        edge_inputs, target = edges.edge_inputs_as_stored(tables), None
        if with_targets:
            labels = tables.read_target(graphs, None, None, gaps=False)
            if not labels.known_mask.all():
                row = int(labels.known_mask.argmin())
                raise DataError(f"input: {graphs.describe_cell(row, labels.column)}: this run has no such target")
            target = tables.fit_target(labels, np.arange(len(graphs))).values
        return _split_graphs(graphs, x, graph_of_node, edges, edge_inputs, target)


def _name_nodes(nodes: Table) -> dict[str, Sequence[str]]:
    """Return the columns that identify nodes: their id and, where ids are unique only within a graph, its name."""
    titles = [title for title in ("graph", "id") if title in nodes.names]
    return {title: nodes.columns[nodes.names.index(title)] for title in titles}


def _split_graphs(
    graphs: Table,
    x: Tensor,
    graph_of_node: Tensor,
    edges: Edges,
    edge_inputs: Mapping[str, Tensor],
    target: Tensor | None,
) -> GraphsSplit:
    """Return the split of all graphs from the inputs of all nodes and edges."""
    count, graph_of_edge = len(graphs), graph_of_node[edges.endpoints[0]]
    nodes = _group_by_graph(x, graph_of_node, count)
    node_index = _index_within_graph(graph_of_node, nodes.lengths)
    endpoints = _group_by_graph(node_index[edges.endpoints].t(), graph_of_edge, count)
    edge_values = {name: _group_by_graph(value, graph_of_edge, count) for name, value in edge_inputs.items()}
    return GraphsSplit({"x": nodes}, endpoints, edge_values, target, ("graph", read_full_column(graphs, "graph")))


def _graph_table_from_nodes(nodes: Table, targets: Sequence[str]) -> Table:
    """Return one row per graph, from its first node. Raises DataError where target or split differ within a graph."""
    graph_columns = [
        *(nodes.find_column(target, "target") for target in targets),
        *(column for column, name in enumerate(nodes.names) if name == "split"),
    ]
    first: dict[str, int] = {}
    for row, graph in enumerate(read_full_column(nodes, "graph")):
        first_row = first.setdefault(graph, row)
        for column in graph_columns:
            cell, first_cell = nodes.columns[column][row], nodes.columns[column][first_row]
            if cell != first_cell:
                raise DataError(
                    f"{nodes.describe_cell(row, column)}: graph {graph!r} has {cell!r} here and {first_cell!r} in row "
                    f"{first_row + 1};"
                    " all nodes of a graph must have the same value, or put it into graphs.csv"
                )
    columns = [tuple(column[row] for row in first.values()) for column in nodes.columns]
    return Table(nodes.names, columns, [nodes.lines[row] for row in first.values()], True, nodes.sources)


def _graph_of_nodes(nodes: Table, graphs: Table) -> Tensor:
    """Return the graph of each node, (N,), as a row index. Raises DataError for unmatched or duplicate graphs."""
    graph_rows = {name: row for (name,), row in index_rows(graphs, ["graph"]).items()}
    cells, column = read_full_column(nodes, "graph"), nodes.find_column("graph", "path")
    for row, cell in enumerate(cells):
        if cell not in graph_rows:
            raise DataError(
                f"{nodes.describe_cell(row, column)}: no graph {cell!r} in"
                f" {graphs.path}{did_you_mean(cell, graph_rows)}"
            )
    empty = graph_rows.keys() - set(cells)
    if empty:
        row = min(graph_rows[name] for name in empty)
        location = graphs.describe_cell(row, graphs.find_column("graph", "path"))
        raise DataError(f"{location}: this graph has no node in {nodes.path}")
    return torch.tensor([graph_rows[cell] for cell in cells])


def _graph_of_edges(table: Table, edges: Edges, graph_of_node: Tensor) -> Tensor:
    """Return the graph of each edge, (E,). Raises DataError for an edge between two graphs."""
    source, target = graph_of_node[edges.endpoints]
    cross_edges = (source != target).nonzero()
    if len(cross_edges):
        row = int(edges.line[cross_edges[0, 0]])
        raise DataError(
            f"{table.describe_cell(row, table.find_column('target', 'path'))}: this node belongs to "
            "another graph than the source"
        )
    return source


def _group_by_graph(values: Tensor, graph: Tensor, graphs: int) -> Ragged:
    """Group values (K, ...) by graph in stable order."""
    return Ragged(values[graph.argsort(stable=True)], graph.bincount(minlength=graphs))


def _index_within_graph(graph: Tensor, sizes: Tensor) -> Tensor:
    """Return the index of each node within its graph, (N,)."""
    order = graph.argsort(stable=True)
    first = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return torch.empty_like(graph).index_copy(0, order, torch.arange(len(graph)) - first)
