"""Edge endpoints, weights, types and features from an edge table."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.core.preprocessing import describe_new_names
from trainer.data.readers.cell_parsing import FLOAT_MAX
from trainer.data.readers.edge_tables import GraphTables, index_rows, read_full_column, row_keys
from trainer.data.readers.header_detection import is_number
from trainer.data.readers.text_file import quote_cell
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import join_names

MAX_GUESSED_EDGES = 2000
"""Maximum number of ids for which the nearest one is suggested."""


class Edges(NamedTuple):
    """Edges with endpoints as row indices of the node table.

    Args:
        endpoints: Source and target of each edge, (2, E).
        line: Row of the edge table, (E,).
        weight: Edge weights, (E,).
        edge_type: Edge types, (E,) int64 below ``num_edge_types``.
        num_edge_types: Number of edge types.
    """

    endpoints: Tensor
    line: Tensor
    weight: Tensor
    edge_type: Tensor
    num_edge_types: int

    def edge_inputs(self, tables: GraphTables, train: np.ndarray) -> dict[str, Tensor]:
        """Return weight, features (a constant 1 if there are none) and type of edges.

        Args:
            tables: Tables of the graph.
            train: Rows of the edge table that features are standardized by.
        """
        return self._make_inputs(tables.encode_features(tables.edges, train))

    def edge_inputs_as_stored(self, tables: GraphTables) -> dict[str, Tensor]:
        """Return weight, features and type of the edges of another graph, encoded as a run stores them.

        Args:
            tables: Tables of the graph.
        """
        return self._make_inputs(tables.encode_as_stored(tables.edges))

    def _make_inputs(self, edge_attr: Tensor | None) -> dict[str, Tensor]:
        edge_attr = torch.ones(len(self.line), 1) if edge_attr is None else edge_attr[self.line]
        return {"edge_weight": self.weight, "edge_attr": edge_attr, "edge_type": self.edge_type}

    def node_degrees(self, nodes: int) -> Tensor:
        """Return ``log(1 + degree)`` of each node for outgoing and incoming edges, (N, 2)."""
        return torch.stack([end.bincount(minlength=nodes).float().log1p() for end in self.endpoints], 1)


def read_edges(tables: GraphTables) -> Edges:
    """Read edges; unless ``directed``, also in the reverse direction.

    Raises:
        DataError: A node id is duplicate, unknown or empty, or a weight is invalid.
    """
    ends = torch.from_numpy(_read_endpoints(tables))
    kinds, kind = _read_edge_types(tables)
    weight = torch.from_numpy(_read_weights(tables))
    line = torch.arange(len(tables.edges))
    if not tables.options["directed"]:
        reversed_ends = ends.flip(0)
        size = len(tables.nodes)
        ids, reversed_ids = ((pair[0] * size + pair[1]) * kinds + kind for pair in (ends, reversed_ends))
        new = ~torch.isin(reversed_ids, ids)  # edges with both directions in the table are not duplicated
        ends, line = torch.cat((ends, reversed_ends[:, new]), 1), torch.cat((line, line[new]))
    return Edges(ends.contiguous(), line, weight[line], kind[line], kinds)


def _read_endpoints(tables: GraphTables) -> np.ndarray:
    # With a graph column in the edge table, ids need to be unique only within a graph.
    graph_column = ["graph"] * ("graph" in tables.edges.names)
    node_index = index_rows(tables.nodes, [*graph_column, "id"])
    ends = []
    for column in ("source", "target"):
        keys = row_keys(tables.edges, [*graph_column, column])
        indices = np.fromiter((node_index.get(key, -1) for key in keys), np.int64, len(keys))
        if (indices < 0).any():
            raise _unknown_node_error(tables, int(np.argmax(indices < 0)), column, {key[-1] for key in node_index})
        ends.append(indices)
    return np.stack(ends)


def _unknown_node_error(tables: GraphTables, row: int, column: str, ids: set[str]) -> DataError:
    index = tables.edges.find_column(column, "path")
    cell = tables.edges.columns[index][row]
    message = (
        f"{tables.edges.describe_cell(row, index)}: node {quote_cell(cell)} is not among the {len(tables.nodes)} nodes"
        f" of {tables.nodes.path}"
    )
    if cell in ids:
        return DataError(f"{message} in this graph")
    # Ids are compared as texts; a missing value makes pandas write 1.0 for 1, and spreadsheets write 7 for 007.
    equal_id = _find_equal_id(cell, ids)
    if equal_id is not None:
        return DataError(f"{message}, whose ids are written like {quote_cell(equal_id)}; use one spelling")
    return DataError(message + (did_you_mean(cell, sorted(ids)) if len(ids) <= MAX_GUESSED_EDGES else ""))


def _find_equal_id(cell: str, ids: set[str]) -> str | None:
    """Return the id with the same exact numeric value, or None."""
    if not is_number(cell):
        return None
    with suppress(InvalidOperation):
        integer = str(Decimal(cell).to_integral_value()) if Decimal(cell) % 1 == 0 else cell
        return (
            integer
            if integer in ids
            else next((node_id for node_id in sorted(ids) if node_id.lstrip("0") == integer), None)
        )
    return None


def _read_weights(tables: GraphTables) -> np.ndarray:
    is_unused = tables.fitted.is_stored and "weight" not in tables.get_stored_columns("edges")
    if "weight" not in tables.edges.names or "weight" in tables.options["drop_columns"] or is_unused:
        return np.ones(len(tables.edges), np.float32)
    index = tables.edges.names.index("weight")
    with np.errstate(over="ignore"):  # overflow to infinity is reported below
        values = tables.cell_format.parse_numbers(tables.edges.columns[index]).astype(np.float32)
    invalid = ~(np.isfinite(values) & (values >= 0))
    if invalid.any():
        row = int(np.argmax(invalid))
        cells = tables.edges.columns[index]
        format_hint = tables.cell_format.suggest_number_format(cells)
        hint = "" if format_hint is None else f" (the column holds {format_hint})"
        location = tables.edges.describe_cell(row, index)
        raise DataError(
            f"{location}: {quote_cell(cells[row])} is not a weight; it must be a number >= 0,"
            f" below {FLOAT_MAX:.2g}{hint}"
        )
    return values


def _read_edge_types(tables: GraphTables) -> tuple[int, Tensor]:
    """Return the number of edge types and the type of each edge, indexed by sorted name; 0 without a type column."""
    is_unused = tables.fitted.is_stored and "edge_types" not in tables.fitted.values
    is_required = tables.fitted.is_stored and not is_unused
    if is_unused or ("type" not in tables.edges.names and not is_required):
        return 1, torch.zeros(len(tables.edges), dtype=torch.long)
    cells = read_full_column(tables.edges, "type")
    names = tables.fitted.get_or_fit("edge_types", lambda: sorted(set(cells)), partial(describe_new_names, cells))
    type_index = {name: number for number, name in enumerate(names)}
    unknown_rows = [row for row, cell in enumerate(cells) if cell not in type_index]
    if unknown_rows:
        location = tables.edges.describe_cell(unknown_rows[0], tables.edges.names.index("type"))
        raise DataError(
            f"{location}: this run has no edge type {cells[unknown_rows[0]]!r} ({len(unknown_rows)} such edges);"
            f" known types: {join_names(names)}"
        )
    return len(names), torch.tensor([type_index[cell] for cell in cells])
