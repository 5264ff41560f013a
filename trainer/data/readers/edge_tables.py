"""Graphs in two tables: edges.csv with the endpoints, nodes.csv with features and targets of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from trainer.core.preprocessing import Preprocessing
from trainer.data.encoding import (
    cell_messages,
    column_checks,
    complete_rows,
    row_encoder,
    table_encoder,
    table_schema,
    targets,
)
from trainer.data.encoding.feature_reader import FeatureReader
from trainer.data.encoding.table_encoder import TargetKind
from trainer.data.encoding.targets import EncodedTarget, Target
from trainer.data.readers import delimited, table_summary
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.edge_table_options import TableDefaults, TableOptions
from trainer.data.readers.row_keys import make_row_keys
from trainer.data.readers.table import Table
from trainer.data.readers.text_file import check_folder, quote_cell
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean

NODE_COLUMNS: set[str | int] = {"id", "graph", "split"}
EDGE_COLUMNS: set[str | int] = {"source", "target", "type", "graph"}
"""Columns with a reserved name; all others are features."""


SCHEMA_OPTIONS = ("categorical", "max_categories", "min_count")
"""Options that the schemas of the tables depend on."""
REUSABLE_VALUES = MappingProxyType({"nodes": SCHEMA_OPTIONS, "edges": SCHEMA_OPTIONS, "edge_types": ()})
"""Fitted values that encode nodes and edges, with these options."""


class GraphTables(TableDefaults):
    """The tables of a graph in a folder or in memory.

    Args:
        options: Options of the data set.
        fitted: Preprocessing, which stores the schemas of a run.
        in_memory: Tables by file name; None for those in the folder ``path``.

    Raises:
        DataError: The folder or a table is missing, or ``drop_columns`` or ``categorical`` has an unknown column.
    """

    def __init__(self, options: TableOptions, fitted: Preprocessing, in_memory: Mapping[str, Table] | None = None):
        options = {**self.option_defaults, **options}
        self.options = options
        self.target = str(options["target"])
        """Column name, which may be a number such as a year, but not a position."""
        self.fitted = fitted
        self.in_memory = in_memory
        if in_memory is None:
            self.folder = check_folder(options["path"], "give the folder of edges.csv and nodes.csv")
        self.cell_format = CellFormat.from_options(options)
        self.lines: list[str] = []
        self.nodes, self.edges = self.read_table("nodes.csv"), self.read_table("edges.csv")
        if not fitted.is_stored:
            column_checks.warn_about_absent_codes([self.nodes, self.edges], self.cell_format)
        all_names = {*self.nodes.names, *self.edges.names, *_unnamed_columns(self.nodes), *_unnamed_columns(self.edges)}
        name_texts = sorted(map(str, all_names))
        unknown = [
            f"{option}: no column {name!r} in nodes.csv or edges.csv{did_you_mean(str(name), name_texts)}"
            for option in ("drop_columns", "categorical")
            for name in options[option]
            if name not in all_names and str(name) not in all_names
        ]
        if unknown and not fitted.is_stored:
            raise DataError(*unknown)

    def has_table(self, name: str) -> bool:
        """Return whether there is a table of this name."""
        return (self.folder / name).exists() if self.in_memory is None else name in self.in_memory

    def read_table(self, name: str) -> Table:
        """Return the table of a name.

        Raises:
            DataError: The file does not exist, or is not a table.
        """
        if self.in_memory is not None:
            return self.in_memory[name]
        options = self.options
        return delimited.read(str(self.folder / name), "path", options["delimiter"], True, options["encoding"])

    def read_target(
        self, table: Table, target_kind: TargetKind | None, task_target: TargetKind | None, *, gaps: bool
    ) -> Target:
        """Return the target column.

        Args:
            table: Table that has the target column.
            target_kind: Kind of the target requested by the user, or None.
            task_target: Kind of the target that the task learns, or None.
            gaps: Whether targets may be missing.

        Raises:
            DataError: A cell is not a valid target, or is empty although ``gaps`` is false.
        """
        column = table.find_column(self.target, "target")
        if self.fitted.is_stored:
            return targets.encode(table, column, self.cell_format, self.fitted.values["target"])
        kind = table_encoder.choose_target_kind(target_kind, task_target)
        target = targets.read(table, column, self.cell_format, kind, certain=target_kind == "class")
        is_valid = ~np.isinf(target.values) if gaps else target.known_mask
        if not is_valid.all():
            raise DataError(cell_messages.describe_bad_cell(table, column, is_valid, self.cell_format))
        self.lines += table_summary.summarize_target(target)
        return target

    def split_rows(self, target: Target, key: str) -> table_encoder.Rows:
        """Return the rows with a target of each split, from the column ``split`` or by fractions.

        Args:
            target: Target column.
            key: Column by which a saved run identifies its rows.
        """
        table, options = target.table, self.options
        group = np.zeros(len(table), np.int64)
        if "split" in table.names:
            group = table_encoder.read_split_column(table, table.names.index("split"), "path", empty=True)
        rows = np.flatnonzero(target.known_mask)

        def divide() -> table_encoder.Rows:
            return table_encoder.split_rows(group, rows, target, options["val"], options["test"], options["seed"])

        keys = make_row_keys(table, [table.find_column(key, "path")])
        return [part.numpy() for part in self.fitted.split_rows(keys, divide, rows)]

    def fit_target(self, target: Target, train: np.ndarray) -> EncodedTarget:
        """Encode the target by the training rows, or as the saved run encoded it.

        Args:
            target: Parsed target.
            train: Training rows.

        Raises:
            DataError: A class has no training row, or a number is far outside of the training range.
        """
        encoded_target = targets.fit_target(target, train, self.fitted.values.get("target"))
        self.fitted.get_or_fit("target", lambda: dict(encoded_target.schema))
        return encoded_target

    def get_stored_columns(self, name: str) -> Sequence[str]:
        """Return the columns of the table ``nodes`` or ``edges`` that the run was trained on."""
        names: Sequence[str] = self.fitted.values[name]["names"]
        return names

    def encode_as_stored(self, table: Table) -> Tensor | None:
        """Encode the feature columns of another graph as (N, F) float32; None if the run has none.

        Args:
            table: Table of nodes or edges.

        Raises:
            DataError: Columns are missing, or cells are not numbers where all training rows have numbers.
        """
        schema = self.fitted.values["edges" if table is self.edges else "nodes"]
        return row_encoder.encode_table(table, schema, self.cell_format) if schema["columns"] else None

    def encode_features(self, table: Table, train: np.ndarray) -> Tensor | None:
        """Encode the feature columns as (N, F) float32; None if there are none.

        Numbers are standardized and categories one-hot encoded, by the rows ``train``.

        Args:
            table: Table of nodes or edges.
            train: Rows that the encoding is fitted on.
        """
        options = self.options
        reserved = EDGE_COLUMNS if table is self.edges else NODE_COLUMNS | {self.target}
        # A header may contain numbers: names are compared as texts, except for positions of unnamed columns.
        excluded = reserved.union(options["drop_columns"], map(str, options["drop_columns"]))
        unnamed = {index % len(table.names) for index in _unnamed_columns(table) & excluded}
        feature_positions = {index for index, name in enumerate(table.names) if name not in excluded} - unnamed
        categorical = {
            index for index in feature_positions if table.names[index] in {*map(str, options["categorical"])}
        }
        name = "edges" if table is self.edges else "nodes"
        stored_schema = (
            self.fitted.get(name)
            if self.fitted.is_stored
            else table_schema.find_reusable(self.fitted, name, table, feature_positions)
        )
        reader = FeatureReader(stored_schema, self.cell_format, options["max_categories"], options["min_count"])
        values, problems = reader.read(table, feature_positions, categorical)
        rows = complete_rows.select_complete_rows(
            table, values, self.cell_format, options["nan"], None, may_drop=False, problems=problems
        )
        columns = reader.fit(table, values, train)
        if not self.fitted.is_stored:
            self.fitted.values[name] = table_schema.make_schema(table, columns, None, None)
        self.lines += table_summary.summarize_table(table, columns, values, None, other_summary=None)
        return torch.from_numpy(table_encoder.encode(columns, values, rows)) if columns else None


def index_rows(table: Table, columns: Sequence[str]) -> dict[tuple[str, ...], int]:
    """Map the key of each row to its index.

    Args:
        table: Table.
        columns: Names of the columns that form the key.

    Raises:
        DataError: Two rows have the same key, a column is missing, or a cell is empty.
    """
    row_by_key: dict[tuple[str, ...], int] = {}
    for row, key in enumerate(row_keys(table, columns)):
        if row_by_key.setdefault(key, row) != row:
            location = table.describe_cell(row, table.find_column(columns[-1], "path"))
            raise DataError(f"{location}: {quote_cell(key[-1])} is a duplicate of row {row_by_key[key] + 1}")
    return row_by_key


def read_full_column(table: Table, column: str) -> tuple[str, ...]:
    """Return the cells of a column, one for each row.

    Args:
        table: Table.
        column: Name of the column.

    Raises:
        DataError: The column is missing or has an empty cell.
    """
    index = table.find_column(column, "path")
    cells = table.columns[index]
    if "" in cells:
        raise DataError(f"{table.describe_cell(cells.index(''), index)}: empty cell; every row needs a value")
    return cells


def row_keys(table: Table, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the key of each row: its cells in some columns.

    Args:
        table: Table.
        columns: Names of the columns that form the key.

    Raises:
        DataError: A column is missing or has an empty cell.
    """
    return list(zip(*(read_full_column(table, column) for column in columns), strict=True))


def _unnamed_columns(table: Table) -> set[int]:
    """Return the positions, from both ends, that identify unnamed columns such as a pandas index.

    Positions from the start that equal the name of a column are excluded.
    """
    count = len(table.names)
    unnamed = [index for index in range(count) if table.is_unnamed(index)]
    return {index - count for index in unnamed} | {index for index in unnamed if str(index) not in table.names}
