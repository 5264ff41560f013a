"""Graphs in memory, such as those of PyTorch Geometric, as tables of text cells, which are encoded like files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.core.preprocessing import Preprocessing
from trainer.data.readers.table import Table
from trainer.utils.errors import DataError
from trainer.utils.text import join_names

EDGE_ATTRIBUTES = {"weight": "edge_weight"}
"""Attribute of a graph that holds a column of edges."""
ROW_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "description": "graph: features of the nodes, and the numbers of the two ends of each edge",
    "properties": {
        "x": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        "edge_index": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "minItems": 2,
            "maxItems": 2,
        },
    },
    "required": ["edge_index"],
}
"""JSON schema of a graph."""
MAX_NODES = 100_000_000
"""Maximum number of a node, so that a request cannot ask for more memory than there is."""
Columns = dict[str, list[str]]
"""Cells of each column, by title."""


def make_tables(rows: Any, fitted: Preprocessing) -> dict[str, Table]:
    """Return the tables of one or several graphs.

    The columns of nodes are attributes of that name (N,), or else the columns of ``x`` (N, F), in the order of training
    and in the units of the training files. Edges have ``edge_index`` (2, E) and, in the same way, attributes or columns
    of ``edge_attr`` (E, D), ``edge_weight`` for a column ``weight``, and ``edge_type`` with names or their numbers.
    Nodes are named by their number, with several graphs by graph and number.

    Args:
        rows: ``torch_geometric.data.Data``, or a list of them.
        fitted: Preprocessing of a saved run.

    Raises:
        DataError: They are not such graphs, or columns are missing.
    """
    graphs = list_graphs(rows)
    is_single = len(graphs) == 1 and "graph" not in fitted.values["nodes"]["names"]
    nodes, edges = [], []
    for number, graph in enumerate(graphs):
        ends = _read_ends(graph, f"graph {number + 1}: edge_index")
        node_columns = _read_columns(graph, fitted.values["nodes"], "x", {}, f"graph {number + 1}")
        count = _count_nodes(graph, node_columns, ends, f"graph {number + 1}")
        names = [str(node) if is_single else f"{number}/{node}" for node in range(count)]
        if any(not 0 <= node < count for end in ends for node in end):
            raise DataError(f"rows: graph {number + 1}: edge_index has a node outside of 0..{count - 1}")
        nodes.append({"id": names, **({} if is_single else {"graph": [str(number)] * count}), **node_columns})
        edge_columns = _read_columns(graph, fitted.values["edges"], "edge_attr", EDGE_ATTRIBUTES, f"graph {number + 1}")
        edge_columns |= _read_types(graph, fitted.values.get("edge_types"), f"graph {number + 1}")
        edges.append(
            {title: [names[node] for node in end] for title, end in zip(("source", "target"), ends, strict=True)}
            | edge_columns
        )
    graph_names = {"graph": [str(number) for number in range(len(graphs))]}
    tables = {"nodes": nodes, "edges": edges, "graphs": [graph_names]}
    return {f"{name}.csv": _join_columns(name, parts) for name, parts in tables.items()}


def list_graphs(rows: Any) -> list[Any]:
    """Return one or several graphs as a list.

    Args:
        rows: ``torch_geometric.data.Data``, a mapping of the same names, or a list of them.

    Raises:
        DataError: One of them is not a graph, or there are none.
    """
    graphs = list(rows) if isinstance(rows, list | tuple) else [rows]
    if not graphs:
        raise DataError("rows: there are none")
    for number, graph in enumerate(graphs, 1):
        try:
            has_edges = "edge_index" in graph and len(graph["edge_index"]) == 2
        except TypeError:
            has_edges = False
        if not has_edges:
            raise DataError(
                f"rows: graph {number} is a {type(graph).__name__} without edge_index (2, E); give a"
                " torch_geometric.data.Data, or a list of them"
            )
    return graphs


def _read_columns(
    graph: Any, schema: Mapping[str, Any], matrix: str, attributes: Mapping[str, str], location: str
) -> Columns:
    """Return the feature columns, from attributes of their name or from the columns of a matrix."""
    titles = [column["name"] for column in schema["columns"]]
    keys = {title: next((key for key in (title, attributes.get(title)) if key in graph), None) for title in titles}
    columns = {title: _to_cells(graph[key], f"{location}: {key}") for title, key in keys.items() if key is not None}
    others = [title for title, key in keys.items() if key is None]
    if others:
        if matrix not in graph:
            raise DataError(f"rows: {location}: {matrix} is missing; it must have the columns {join_names(others)}")
        cells = [_to_cells(row, f"{location}: {matrix}") for row in _to_list(graph[matrix], f"{location}: {matrix}")]
        width = next((len(row) for row in cells if len(row) != len(others)), None)
        if width is not None:
            raise DataError(
                f"rows: {location}: {matrix} has {width} columns instead of {len(others)}: {join_names(others)}"
            )
        columns |= dict(zip(others, map(list, zip(*cells, strict=True)), strict=True)) if cells else {}
    return {title: columns.get(title, []) for title in titles}


def _read_types(graph: Any, names: Sequence[str] | None, location: str) -> Columns:
    if names is None:
        return {}
    if "edge_type" not in graph:
        raise DataError(f"rows: {location}: edge_type is missing; the types of this run are {join_names(names)}")
    types = _to_cells(graph["edge_type"], f"{location}: edge_type")
    numbers = {str(number): name for number, name in enumerate(names)}
    return {"type": [cell if cell in names else numbers.get(cell, cell) for cell in types]}


def _count_nodes(graph: Any, columns: Columns, ends: Sequence[Sequence[int]], location: str) -> int:
    if columns:
        return len(next(iter(columns.values())))
    if "num_nodes" in graph:
        return _check_nodes([graph["num_nodes"]], f"{location}: num_nodes")[0]
    if "x" in graph:
        return len(_to_list(graph["x"], f"{location}: x"))
    return 1 + max((node for end in ends for node in end), default=0)


def _read_ends(graph: Any, location: str) -> list[list[int]]:
    return [_check_nodes(_to_list(end, location), location) for end in graph["edge_index"]]


def _check_nodes(numbers: list[Any], location: str) -> list[int]:
    """Return numbers of nodes. Raises DataError for what is no whole number, or more nodes than a graph can have."""
    invalid = next((number for number in numbers if type(number) is not int or number > MAX_NODES), None)
    if invalid is not None:
        raise DataError(f"rows: {location} has {invalid!r}; it must have whole numbers to {MAX_NODES:,}")
    return numbers


def _to_list(values: Any, location: str) -> list[Any]:
    """Return the elements of an array or a sequence."""
    elements = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(elements, Sequence) or isinstance(elements, str):
        raise DataError(f"rows: {location} has {elements!r} in the place of a list")
    return list(elements)


def _to_cells(values: Any, location: str) -> list[str]:
    """Return numbers or texts as cells of a table."""
    return [_to_cell(cell) for cell in _to_list(values, location)]


def _to_cell(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _join_columns(name: str, parts: Sequence[Columns]) -> Table:
    columns = [tuple(cell for part in parts for cell in part[title]) for title in parts[0]]
    lengths = set(map(len, columns))
    if len(lengths) > 1:
        raise DataError(f"rows: the columns of {name} differ in length: {', '.join(map(str, sorted(lengths)))}")
    count = len(columns[0])
    return Table(list(parts[0]), columns, range(1, count + 1), True, ((Path(name), count),))
