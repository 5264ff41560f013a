"""A graph in two tables of the user's: edges.csv says who is joined to whom, nodes.csv what each node is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor

from trainer.data.parts import rows, tables, targets
from trainer.data.parts.features import Reading
from trainer.data.parts.files import missing
from trainer.data.parts.tables import Table
from trainer.data.parts.targets import Target
from trainer.errors import ConfigError, did_you_mean
from trainer.types import Fraction, NonNegativeInt, PositiveInt

NODE_COLUMNS: set[str | int] = {"id", "graph", "split"}
EDGE_COLUMNS: set[str | int] = {"source", "target", "type", "graph"}
"""What is said by the name of a column; all other columns are features."""
MOST_GUESSED = 2000
"""Among how many ids the one most like another is looked for."""


class TableOptions(TypedDict):
    """How the tables of a graph are read and cut."""

    path: str
    target: str
    directed: bool
    delimiter: str | None
    encoding: str
    decimal: Literal["point", "comma"]
    missing: list[str]
    nan: Literal["error", "fill"]
    categorical: list[str]
    drop_columns: list[str | int]
    val: Fraction
    test: Fraction
    max_categories: PositiveInt
    min_count: PositiveInt
    seed: NonNegativeInt


class Edges(NamedTuple):
    """Edges by the rows of their nodes.

    ends: (2, E) source and target. line: (E,) the row of the table each comes from. weight: (E,). kind: (E,) int64,
    of ``kinds``.
    """

    ends: Tensor
    line: Tensor
    weight: Tensor
    kind: Tensor
    kinds: int

    def inputs(self, read: Tables, train: np.ndarray) -> dict[str, Tensor]:
        """What edges have beside their ends: of the features, a 1 where there are none."""
        attr = read.features(read.edges, train)
        attr = torch.ones(len(self.line), 1) if attr is None else attr[self.line]
        return {"edge_weight": self.weight, "edge_attr": attr, "edge_type": self.kind}

    def degrees(self, nodes: int) -> Tensor:
        """``log(1 + edges)`` that leave and that reach each node, (N, 2)."""
        return torch.stack([end.bincount(minlength=nodes).float().log1p() for end in self.ends], 1)


class Tables:
    """The tables of a folder, as ``TableOptions`` say.

    Raises ConfigError for a folder or a table that is not there, and for a column to leave out that is in neither.
    """

    def __init__(self, options: TableOptions):
        self.options = options
        self.folder = Path(options["path"]).expanduser()
        if not self.folder.is_dir():
            if not self.folder.exists():
                raise missing(self.folder)
            raise ConfigError(f"data.path: {self.folder} is a file; give the folder of edges.csv and nodes.csv")
        gaps = frozenset(text.lower() for text in options["missing"])
        self.reading = Reading(gaps, options["decimal"] == "comma")
        self.nodes, self.edges = self.table("nodes.csv"), self.table("edges.csv")
        for option in ("drop_columns", "categorical"):
            for name in options[option]:  # type: ignore[literal-required]
                if isinstance(name, str) and name not in self.edges.names:
                    self.nodes.find(name, f"data.{option}")

    def table(self, name: str) -> Table:
        options = self.options
        return tables.read(str(self.folder / name), "data.path", options["delimiter"], True, options["encoding"])

    def answer(self, table: Table, target_kind: str, *, gaps: bool) -> Target:
        """The target column. Raises ConfigError for a cell that is no target, and for a gap where none may be."""
        at = table.find(self.options["target"], "data.target")
        kind = rows.kind_of(target_kind)
        answer = targets.read(table, at, self.reading, kind, certain=target_kind == "class")
        good = ~np.isinf(answer.values) if gaps else answer.known
        if not good.all():
            raise ConfigError(rows.bad_cell(table, at, good, self.reading))
        return answer

    def split(self, answer: Target) -> rows.Rows:
        """The rows of each split that have a target: as the column ``split`` says, else by shares."""
        table, options = answer.table, self.options
        group = np.zeros(len(table), np.int64)
        if "split" in table.names:
            group = rows.groups_of(table, table.names.index("split"), "data.path", empty=True)
        known = np.flatnonzero(answer.known)
        return rows.split(group, known, answer, options["val"], options["test"], options["seed"])

    def features(self, table: Table, train: np.ndarray) -> Tensor | None:
        """What the other columns hold, (N, F) float32; None where there are none.

        Numbers are standardised and categories one-hot, by the rows ``train``.
        """
        options = self.options
        apart = EDGE_COLUMNS if table is self.edges else NODE_COLUMNS | {options["target"]}
        dropped = apart.union(options["drop_columns"])
        kept = {place for place, name in enumerate(table.names) if name not in dropped}
        kept -= {place for place in kept if table.is_unnamed(place) and place in dropped}
        texts = {place for place in kept if table.names[place] in options["categorical"]}
        values = rows.values_of(table, self.reading, kept, texts)
        every = rows.whole(table, values, self.reading, options["nan"], None)
        columns = rows.fit(table, values, train, options["max_categories"], options["min_count"])
        return torch.from_numpy(rows.encode(columns, values, every)) if columns else None

    def joined(self) -> Edges:
        """The edges by the rows of their nodes, and unless ``directed`` each the other way as well.

        Raises ConfigError for an id that comes twice, that no node has or that is empty, and for a bad weight.
        """
        ends = torch.from_numpy(self._ends())
        kinds, kind = self._kinds()
        weight = torch.from_numpy(self._weights())
        line = torch.arange(len(self.edges))
        if not self.options["directed"]:
            back = ends.flip(0)
            size = len(self.nodes)
            known, turned = ((pair[0] * size + pair[1]) * kinds + kind for pair in (ends, back))
            new = ~torch.isin(turned, known)  # an edge that the table has both ways is not doubled
            ends, line = torch.cat((ends, back[:, new]), 1), torch.cat((line, line[new]))
        return Edges(ends.contiguous(), line, weight[line], kind[line], kinds)

    def _ends(self) -> np.ndarray:
        # Where edges say their graph, ids need only differ within one.
        within = ["graph"] * ("graph" in self.edges.names)
        place = places(self.nodes, [*within, "id"])
        ends = []
        for column in ("source", "target"):
            keys = _keys(self.edges, [*within, column])
            found = np.fromiter((place.get(key, -1) for key in keys), np.int64, len(keys))
            if (found < 0).any():
                raise self._stranger(int(np.argmax(found < 0)), column, {key[-1] for key in place})
            ends.append(found)
        return np.stack(ends)

    def _stranger(self, row: int, column: str, ids: set[str]) -> ConfigError:
        at = self.edges.find(column, "data.path")
        cell = self.edges.columns[at][row]
        where = (
            f"{self.edges.where(row, at)}: node {cell!r} is none of the {len(self.nodes)} nodes of {self.nodes.path}"
        )
        if cell in ids:
            return ConfigError(f"{where} in this graph")
        number = self.reading.number(cell)
        whole = str(int(number)) if np.isfinite(number) and number == int(number) else None
        if whole in ids:
            return ConfigError(f"{where}, which are written like {whole!r}: write ids alike")
        return ConfigError(where + (did_you_mean(cell, sorted(ids)) if len(ids) <= MOST_GUESSED else ""))

    def _weights(self) -> np.ndarray:
        if "weight" not in self.edges.names or "weight" in self.options["drop_columns"]:
            return np.ones(len(self.edges), np.float32)
        at = self.edges.names.index("weight")
        values = self.reading.numbers(self.edges.columns[at])
        wrong = ~(np.isfinite(values) & (values >= 0))
        if wrong.any():
            row = int(np.argmax(wrong))
            cell = self.edges.columns[at][row]
            raise ConfigError(f"{self.edges.where(row, at)}: {cell!r} is no weight; weights are numbers >= 0")
        return values.astype(np.float32)

    def _kinds(self) -> tuple[int, Tensor]:
        """How many kinds of edges there are, and each edge's: by their names in order, 0 where edges are of one."""
        if "type" not in self.edges.names:
            return 1, torch.zeros(len(self.edges), dtype=torch.long)
        names, kind = np.unique(filled(self.edges, "type"), return_inverse=True)
        return len(names), torch.from_numpy(kind.astype(np.int64))


def places(table: Table, columns: Sequence[str]) -> dict[tuple[str, ...], int]:
    """The row of each key, given the columns that make it. Raises ConfigError for a key that comes twice."""
    found: dict[tuple[str, ...], int] = {}
    for row, key in enumerate(_keys(table, columns)):
        if found.setdefault(key, row) != row:
            where = table.where(row, table.find(columns[-1], "data.path"))
            raise ConfigError(f"{where}: {key[-1]!r} is row {found[key] + 1} already")
    return found


def filled(table: Table, column: str) -> tuple[str, ...]:
    """The cells of a column. Raises ConfigError for a column that lacks, and for an empty cell."""
    at = table.find(column, "data.path")
    cells = table.columns[at]
    if "" in cells:
        raise ConfigError(f"{table.where(cells.index(''), at)}: empty; no row may lack it")
    return cells


def _keys(table: Table, columns: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(filled(table, column) for column in columns), strict=True))
