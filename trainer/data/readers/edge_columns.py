"""Edges of a table by the rows of their nodes, and what else the table says of them."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.readers.cell_parsing import FLOAT_MAX
from trainer.data.readers.edge_tables import GraphTables, index_rows, read_full_column, row_keys
from trainer.data.readers.header_detection import is_number
from trainer.data.readers.text_file import join_names, quote_cell
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

MAX_GUESSED_EDGES = 2000
"""Among how many ids the one most like another is looked for."""


class Edges(NamedTuple):
    """Edges by the rows of their nodes.

    ends: (2, E) source and target. line: (E,) the row of the table each comes from. weight: (E,). kind: (E,) int64,
    of ``kinds``.
    """

    endpoints: Tensor
    line: Tensor
    weight: Tensor
    edge_type: Tensor
    num_edge_types: int

    def edge_inputs(self, read: GraphTables, train: np.ndarray) -> dict[str, Tensor]:
        """What edges have beside their ends: of the features, a 1 where there are none."""
        attr = read.encode_features(read.edges, train)
        attr = torch.ones(len(self.line), 1) if attr is None else attr[self.line]
        return {"edge_weight": self.weight, "edge_attr": attr, "edge_type": self.edge_type}

    def node_degrees(self, nodes: int) -> Tensor:
        """``log(1 + edges)`` that leave and that reach each node, (N, 2)."""
        return torch.stack([end.bincount(minlength=nodes).float().log1p() for end in self.endpoints], 1)


def read_edges(read: GraphTables) -> Edges:
    """The edges by the rows of their nodes, and unless ``directed`` each the other way as well.

    Raises ConfigError for an id that comes twice, that no node has or that is empty, and for a bad weight.
    """
    ends = torch.from_numpy(_read_endpoints(read))
    kinds, kind = _read_edge_types(read)
    weight = torch.from_numpy(_read_weights(read))
    line = torch.arange(len(read.edges))
    if not read.options["directed"]:
        back = ends.flip(0)
        size = len(read.nodes)
        known, turned = ((pair[0] * size + pair[1]) * kinds + kind for pair in (ends, back))
        new = ~torch.isin(turned, known)  # an edge that the table has both ways is not doubled
        ends, line = torch.cat((ends, back[:, new]), 1), torch.cat((line, line[new]))
    return Edges(ends.contiguous(), line, weight[line], kind[line], kinds)


def _read_endpoints(read: GraphTables) -> np.ndarray:
    # Where edges say their graph, ids need only differ within one.
    within = ["graph"] * ("graph" in read.edges.names)
    place = index_rows(read.nodes, [*within, "id"])
    ends = []
    for column in ("source", "target"):
        named = row_keys(read.edges, [*within, column])
        found = np.fromiter((place.get(key, -1) for key in named), np.int64, len(named))
        if (found < 0).any():
            raise _unknown_node_error(read, int(np.argmax(found < 0)), column, {key[-1] for key in place})
        ends.append(found)
    return np.stack(ends)


def _unknown_node_error(read: GraphTables, row: int, column: str, ids: set[str]) -> ConfigError:
    at = read.edges.find_column(column, "data.path")
    cell = read.edges.columns[at][row]
    where = (
        f"{read.edges.describe_cell(row, at)}: node {quote_cell(cell)} is none of the {len(read.nodes)} nodes of "
        f"{read.nodes.path}"
    )
    if cell in ids:
        return ConfigError(f"{where} in this graph")
    # Ids are compared as texts: a gap in the column makes 1.0 of 1, and a spreadsheet 7 of 007.
    alike = _find_equal_id(cell, ids)
    if alike is not None:
        return ConfigError(f"{where}, which are written like {quote_cell(alike)}: write ids alike")
    return ConfigError(where + (did_you_mean(cell, sorted(ids)) if len(ids) <= MAX_GUESSED_EDGES else ""))


def _find_equal_id(cell: str, ids: set[str]) -> str | None:
    """The id that is the same number, in its exact digits, if there is one."""
    if not is_number(cell):
        return None
    with suppress(InvalidOperation):
        whole = str(Decimal(cell).to_integral_value()) if Decimal(cell) % 1 == 0 else cell
        return whole if whole in ids else next((one for one in sorted(ids) if one.lstrip("0") == whole), None)
    return None


def _read_weights(read: GraphTables) -> np.ndarray:
    if "weight" not in read.edges.names or "weight" in read.options["drop_columns"]:
        return np.ones(len(read.edges), np.float32)
    at = read.edges.names.index("weight")
    with np.errstate(over="ignore"):  # what is too large is infinite, and told as such
        values = read.reading.parse_numbers(read.edges.columns[at]).astype(np.float32)
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        cells = read.edges.columns[at]
        signs = read.reading.suggest_number_format(cells)
        hint = "" if signs is None else f" (the column holds {signs})"
        place = read.edges.describe_cell(row, at)
        raise ConfigError(
            f"{place}: {quote_cell(cells[row])} is no weight; weights are numbers >= 0, below {FLOAT_MAX:.2g}{hint}"
        )
    return values


def _read_edge_types(read: GraphTables) -> tuple[int, Tensor]:
    """How many kinds of edges there are, and each edge's: by their names in order, 0 where edges are of one."""
    if "type" not in read.edges.names:
        return 1, torch.zeros(len(read.edges), dtype=torch.long)
    cells = read_full_column(read.edges, "type")
    names = read.fitted.get_or_fit("edge_types", lambda: sorted(set(cells)))
    place = {name: number for number, name in enumerate(names)}
    strange = [row for row, cell in enumerate(cells) if cell not in place]
    if strange:
        where = read.edges.describe_cell(strange[0], read.edges.names.index("type"))
        raise ConfigError(
            f"{where}: this run knows no type of edge {cells[strange[0]]!r} ({len(strange)} such edges);"
            f" it knows {join_names(names)}"
        )
    return len(names), torch.tensor([place[cell] for cell in cells])
