"""Pairs of nodes to predict links for: from a table, from rows in memory, or all that are not linked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainer.core.prediction_columns import Column
from trainer.data.encoding import node_names
from trainer.data.encoding.node_names import NodeNames, TableFormat
from trainer.data.readers.skipped_rows import OnError, SkippedRows
from trainer.data.readers.table import Table
from trainer.data.readers.text_file import quote_cell
from trainer.data.splits.candidate_pairs import PairSplit, iter_candidates
from trainer.utils.errors import DataError

CHUNK_ROWS = 1 << 18
"""Maximum number of rows of a chunk."""
LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}


class NodePairs(NamedTuple):
    """Names of both nodes of a pair.

    Attributes:
        first: Names of the first nodes.
        second: Names of the second nodes; those of the first ones in an undirected graph.
    """

    first: NodeNames
    second: NodeNames

    @property
    def titles(self) -> tuple[str, str]:
        """Titles of their columns."""
        one, other = self.first.title, self.second.title
        return (f"{one}_1", f"{other}_2") if one == other else (one, other)

    def describe(self, pairs: Tensor) -> dict[str, Column]:
        """Return the names of pairs (P, 2) in two columns."""
        names = zip(self.titles, self, pairs.unbind(1), strict=True)
        return {title: side.select(nodes).tolist() for title, side, nodes in names}


class PairReader:
    """Reader of pairs of nodes.

    Args:
        names: Names of the nodes.
        graph: Inputs of the graph, with its edges ``edge_index`` in both directions.
        table_format: Format of tables.
        target: Column of 0 and 1, by name or position: whether a pair is linked.
        columns: Columns of both nodes in the training table, each by names or positions; those of the titles come last.
    """

    def __init__(
        self,
        names: NodePairs,
        graph: Mapping[str, Tensor],
        table_format: TableFormat,
        target: str | int,
        columns: Sequence[Sequence[str | int]] = ((), ()),
    ):
        self.names = names
        self.graph = graph
        self.table_format = table_format
        self.target = target
        self.columns = [[*keys, title] for keys, title in zip(columns, names.titles, strict=True)]

    def read(self, path: str | None, with_targets: bool, top_k: int | None, on_error: OnError) -> Iterator[PairSplit]:
        """Read pairs in chunks that fit in memory.

        Args:
            path: Table of pairs; with ``top_k``, of first nodes, or None for all.
            with_targets: Read whether they are linked too.
            top_k: Number of the most probable new links that are selected: of each node in the table or, in an
                undirected graph without a table, of all.
            on_error: Refuse a table with an unknown name, or skip its rows.

        Raises:
            DataError: The table cannot be read, or neither a table nor ``top_k`` is given.
        """
        skipped = SkippedRows()
        if path is None and top_k is None:
            raise DataError("input: missing; give the file of pairs, or top_k=K for the most probable new links")
        collected = skipped if on_error == "skip" else None
        num_rows = 0
        if path is None:
            assert top_k is not None
            yield from self._iter_candidates(torch.arange(len(self.names.first.names)), top_k, is_file=False)
            return
        sides = list(self.names) if top_k is None else [self.names.first]
        table = node_names.read_table(path, self.table_format, [str(key) for keys in self.columns for key in keys])
        positions = [node_names.find_column(table, self.columns[side], side) for side in range(len(sides))]
        for rows in torch.arange(len(table)).split(CHUNK_ROWS):
            first, end = int(rows[0]), int(rows[-1]) + 1
            cells = [table.columns[position][first:end] for position in positions]
            nodes, index = node_names.find_nodes(sides, cells, _locate(table, positions, first), "input", collected)
            num_rows += len(index)
            if not len(index):
                continue
            if top_k is None:
                target = self._read_targets(table, first + index) if with_targets else None
                yield PairSplit(nodes, target, self.graph, self.names.describe)
            else:
                yield from self._iter_candidates(nodes[:, 0], top_k, is_file=True)
        skipped.report(num_rows)

    def encode(self, rows: Any) -> PairSplit:
        """Encode pairs in memory.

        Args:
            rows: Pairs of names (P, 2), or a data frame or dicts with the titles of the columns.
        """
        pairs = node_names.list_rows(rows, self.names.titles)
        columns = list(zip(*pairs, strict=True))
        nodes, _ = node_names.find_nodes(self.names, columns, lambda row, _: f"row {row + 1}", "rows")
        return PairSplit(nodes, None, self.graph, self.names.describe)

    def describe_row(self) -> dict[str, Any]:
        """Return the JSON schema of a pair."""
        return node_names.describe_row(self.names.titles)

    def _iter_candidates(self, first: Tensor, top_k: int, *, is_file: bool) -> Iterator[PairSplit]:
        second = self.names.second
        nodes = range(second.first, second.first + len(second.names))
        is_undirected, has_candidates = self.names.first.title == second.title, False
        for pairs, index in iter_candidates(
            first, nodes, self.graph["edge_index"], is_ordered=is_undirected and not is_file
        ):
            has_candidates = True
            group = None if is_undirected and not is_file else index
            yield PairSplit(pairs, None, self.graph, self.names.describe, top_k, group)
        if not has_candidates:
            raise DataError("top_k: there are no new links: all these nodes are linked already")

    def _read_targets(self, table: Table, rows: Tensor) -> Tensor:
        column = node_names.find_column(table, [self.target], len(self.names))
        cells = [table.columns[column][row] for row in rows.tolist()]
        invalid = next((k for k, cell in enumerate(cells) if cell not in LABELS), None)
        if invalid is not None:
            location = table.describe_cell(int(rows[invalid]), column)
            raise DataError(f"input: {location}: {quote_cell(cells[invalid])} is neither 0 nor 1")
        return torch.tensor([LABELS[cell] for cell in cells])


def _locate(table: Table, positions: Sequence[int], first: int) -> Callable[[int, int], str]:
    return lambda row, column: table.describe_cell(first + row, positions[column])
